"""The fixtures of all tests: real servers, the real pocket model."""

pytest_plugins = [
    "testing.processes.servers",
    "testing.pocket",
    "testing.table",
    "testing.api",
    "testing.processes.http_server",
    "testing.processes.service",
    "testing.processes.requirements",
    "testing.processes.wheel",
]
