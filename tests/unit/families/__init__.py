"""Tests of families/, without servers."""
