"""The only client for outgoing requests to URLs that clients chose, and the policy on where they may go."""
