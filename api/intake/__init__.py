"""Turns a submitted request into a stored, queued job."""
