"""Tests of Redis with TLS, permissions and fail-over, on real servers."""
