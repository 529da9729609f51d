"""The prepare stage: fetches and converts a job's media in child processes."""
