"""Tests of worker/egress/ with real servers or the real model."""
