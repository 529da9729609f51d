"""Tests of jobs/ with real servers or the real model."""
