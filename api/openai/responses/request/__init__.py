"""Reads a request for a response."""
