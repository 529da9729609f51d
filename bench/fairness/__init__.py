"""How much one tenant's flood of requests delays another tenant."""
