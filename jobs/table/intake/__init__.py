"""Whether the service takes new jobs, and one more job of a tenant."""
