"""Tests of cli/, without servers."""
