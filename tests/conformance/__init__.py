"""Clients of other projects against the whole service, each in an environment of its own."""
