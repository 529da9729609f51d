"""Workload, faults and assertions of the chaos tests."""
