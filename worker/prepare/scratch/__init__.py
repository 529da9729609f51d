"""The temporary files of a worker's jobs."""
