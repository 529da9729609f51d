"""What the commands that call a service share: the HTTP client, batch files and the live view."""
