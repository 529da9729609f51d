"""Bodies of requests and replies, and their OpenAPI texts. Imports api.errors, jobs.model and runtime."""
