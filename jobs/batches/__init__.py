"""Batches: many requests from a file, run as jobs a few at a time, with their replies in files."""
