"""Tests of api/, without servers."""
