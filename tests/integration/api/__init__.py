"""Tests of api/ with real servers or the real model."""
