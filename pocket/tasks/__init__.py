"""The pocket model's skills. Each module generates examples of one kind from a random generator."""
