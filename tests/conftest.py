"""The fixtures of all tests: real servers, the real pocket model."""

pytest_plugins = [
    "testing.servers",
    "testing.pocket",
    "testing.table",
    "testing.api",
    "testing.http_server",
    "testing.service",
    "testing.requirements",
    "testing.wheel",
]
