"""Trains the pocket model and publishes its weights."""
