"""The worker processes: prepare, generate, keeper. Imports engine, jobs, runtime and families."""
