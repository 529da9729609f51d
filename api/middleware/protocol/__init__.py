"""HTTP itself: malformed requests, HEAD, request ids, and metrics of requests."""
