"""Tests of pocket/, without servers."""
