"""Which IP addresses outgoing requests may reach."""
