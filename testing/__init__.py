"""Fixtures and builders that the tests and benchmarks share."""
