"""Real servers, the service's processes, and what tests put between them."""
