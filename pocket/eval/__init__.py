"""Evaluates the pocket model and draws its charts."""
