"""Checks of single fields: URLs and the kinds of files."""
