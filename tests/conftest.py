"""Fixtures of all rings: real servers, the real pocket model."""

pytest_plugins = [
    "tests.fixtures.servers",
    "tests.fixtures.pocket",
    "tests.fixtures.table",
    "tests.fixtures.api",
    "tests.fixtures.http_server",
    "tests.fixtures.service",
    "tests.fixtures.needs",
]
