"""The Response object and its items."""
