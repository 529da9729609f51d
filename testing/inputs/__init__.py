"""Request bodies and files that tests submit."""
