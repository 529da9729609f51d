"""Fixtures of all rings: real servers, the real pocket model."""

pytest_plugins = ["tests.fixtures.servers", "tests.fixtures.pocket", "tests.fixtures.table"]
