"""The Response object, its items and their ids."""
