"""Batches of `/v1/batches`, in the form of OpenAI's API."""
