"""From PDF and slides to pages."""
