"""Tests of pocket/ with real servers or the real model."""
