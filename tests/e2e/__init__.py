"""Tests of whole processes, as a user or operator runs them."""
