"""Where Redis is, and connections to it: from one setting for every client of the service."""
