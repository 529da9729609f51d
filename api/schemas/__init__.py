"""The bodies of requests and replies, and what the OpenAPI document says about them. Imports api.errors and jobs.model."""
