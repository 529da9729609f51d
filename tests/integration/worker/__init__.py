"""Tests of worker/ with real servers or the real model."""
