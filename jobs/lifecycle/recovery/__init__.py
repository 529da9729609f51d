"""Repairs the job table from the object store."""
