"""Runs the functions that open clients' files, in the sandbox."""
