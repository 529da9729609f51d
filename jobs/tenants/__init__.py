"""What belongs to a tenant: API keys and webhook secrets."""
