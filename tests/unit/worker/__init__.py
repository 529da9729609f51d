"""Tests of worker/, without servers."""
