"""Tests of jobs/, without servers."""
