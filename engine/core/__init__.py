"""Scheduling, sequences, KV block accounting and thinking control. Imports no torch."""
