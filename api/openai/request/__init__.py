"""Reads OpenAI's requests: which fields are honored, and what they mean in a job's request."""
