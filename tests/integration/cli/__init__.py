"""Tests of cli/ with real servers or the real model."""
