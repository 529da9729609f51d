"""What runs before a route: authentication, rate and body limits, JSON parsing, request ids and metrics."""
