"""The end of a job, what is kept of it, and its deletion."""
