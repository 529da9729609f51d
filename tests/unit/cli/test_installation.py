"""The state folder: who may read it, what lives on, who has it."""

import stat
from pathlib import Path

import pytest

from cli.errors import AlreadyRunning, CommandError
from cli.local.installation import Installation


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    installation = Installation(tmp_path / "state")
    installation.create()
    return installation


def test_only_its_owner_can_read_it(installation: Installation) -> None:
    assert stat.S_IMODE(installation.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((installation.folder / "env").stat().st_mode) == 0o600


def test_secrets_are_made_once_and_differ_between_installations(installation: Installation, tmp_path: Path) -> None:
    first = installation.values({})
    installation.create()
    assert installation.values({}) == first
    other = Installation(tmp_path / "other")
    other.create()
    assert not set(other.values({}).values()) & set(first.values())


def test_what_the_environment_says_wins(installation: Installation) -> None:
    assert installation.values({"REDIS_PASSWORD": "mine"})["REDIS_PASSWORD"] == "mine"


def test_a_named_server_is_not_started(installation: Installation) -> None:
    both = installation.values({})
    assert [server.name for server in installation.servers(both)] == ["valkey", "seaweedfs"]
    named = {**both, "REDIS_URL": "redis://elsewhere:6379/0"}
    assert [server.name for server in installation.servers(named)] == ["seaweedfs"]
    named["S3_ENDPOINT"] = "https://s3.example.com"
    assert installation.servers(named) == []
    environment = installation.environment(named, [])
    assert environment["REDIS_URL"] == "redis://elsewhere:6379/0"
    assert environment["S3_ENDPOINT"] == "https://s3.example.com"


@pytest.mark.parametrize(
    ("name", "value"),
    [("EMBEDDED_REDIS_PORT", "http"), ("EMBEDDED_REDIS_PORT", "70000"), ("EMBEDDED_S3_PORT", "60000")],
)
def test_what_is_no_port_is_said(installation: Installation, name: str, value: str) -> None:
    with pytest.raises(CommandError, match=f"{name}='{value}' is not a port"):
        installation.servers(installation.values({name: value}))


def test_one_at_a_time(installation: Installation) -> None:
    assert installation.running() is None
    with installation.lock("http://127.0.0.1:1"):
        found = installation.running()
        assert found is not None
        assert found.url == "http://127.0.0.1:1"
        with pytest.raises(AlreadyRunning, match="is already running"), installation.lock("http://127.0.0.1:2"):
            pass
    assert installation.running() is None
