"""Tests of engine/, without servers."""
