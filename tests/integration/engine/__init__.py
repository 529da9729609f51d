"""Tests of engine/ with real servers or the real model."""
