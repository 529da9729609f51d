"""Who may call: keys, scopes, hosts, and the origins of web pages."""
