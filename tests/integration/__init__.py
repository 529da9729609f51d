"""Tests of modules with real servers or the real model."""
