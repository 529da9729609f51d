"""Many jobs with injected faults: no job may be lost or end twice."""
