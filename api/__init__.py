"""The HTTP API: accepts jobs and serves their state, events and results. Imports jobs, runtime and families."""
