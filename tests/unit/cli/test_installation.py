"""The state folder: permissions, secrets, and the record of what runs from it."""

import stat
from pathlib import Path

import pytest

from cli.errors import AlreadyRunning, CommandError
from cli.local import run_lock
from cli.local.installation import Installation
from cli.local.run_lock import RunningService
from cli.local.settings import describe_service, installed_settings

HERE = RunningService(7, "http://127.0.0.1:1", {"API_PORT": "1", "EMBEDDED_REDIS_PORT": "1111"})


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    installation = Installation(tmp_path / "state")
    installation.create()
    return installation


def test_only_the_owner_can_read_the_folder(installation: Installation) -> None:
    assert stat.S_IMODE(installation.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((installation.folder / "env").stat().st_mode) == 0o600
    with run_lock.hold(installation.folder, HERE):
        assert stat.S_IMODE((installation.folder / "lock").stat().st_mode) == 0o600


def test_secrets_are_created_once_and_differ_between_installations(installation: Installation, tmp_path: Path) -> None:
    first = installation.values({})
    installation.create()
    assert installation.values({}) == first
    other = Installation(tmp_path / "other")
    other.create()
    assert not set(other.values({}).values()) & set(first.values())


def test_the_environment_overrides_the_folder(installation: Installation) -> None:
    assert installation.values({"REDIS_PASSWORD": "mine"})["REDIS_PASSWORD"] == "mine"


def test_an_external_server_is_not_started(installation: Installation) -> None:
    both = installation.values({})
    assert [server.name for server in installation.servers(both)] == ["valkey", "seaweedfs"]
    external = {**both, "REDIS_URL": "redis://elsewhere:6379/0"}
    assert [server.name for server in installation.servers(external)] == ["seaweedfs"]
    external["S3_ENDPOINT"] = "https://s3.example.com"
    assert installation.servers(external) == []
    environment = installation.environment(external, [])
    assert environment["REDIS_URL"] == "redis://elsewhere:6379/0"
    assert environment["S3_ENDPOINT"] == "https://s3.example.com"


@pytest.mark.parametrize(
    ("name", "value"),
    [("EMBEDDED_REDIS_PORT", "http"), ("EMBEDDED_REDIS_PORT", "70000"), ("EMBEDDED_S3_PORT", "60000")],
)
def test_a_value_that_is_not_a_port_is_refused(installation: Installation, name: str, value: str) -> None:
    with pytest.raises(CommandError, match=f"{name}='{value}' is not a port"):
        installation.servers(installation.values({name: value}))


def test_one_service_runs_from_a_folder_at_a_time(installation: Installation) -> None:
    assert installation.running() is None
    with run_lock.hold(installation.folder, HERE):
        assert installation.running() == HERE
        other = RunningService(8, "http://127.0.0.1:2")
        with pytest.raises(AlreadyRunning, match=r"is already running: http://127\.0\.0\.1:1"):
            run_lock.hold(installation.folder, other).__enter__()
    assert installation.running() is None


def test_commands_use_the_ports_of_the_running_service(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REDIS_URL", "S3_ENDPOINT", "API_PORT", "EMBEDDED_REDIS_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert ":8801/" in installed_settings(installation.folder).redis_url.get_secret_value()
    with run_lock.hold(installation.folder, HERE):
        settings = installed_settings(installation.folder)
        assert settings.api_port == 1
        assert ":1111/" in settings.redis_url.get_secret_value()
        monkeypatch.setenv("EMBEDDED_REDIS_PORT", "2222")
        assert ":2222/" in installed_settings(installation.folder).redis_url.get_secret_value()
    monkeypatch.delenv("EMBEDDED_REDIS_PORT")
    assert installed_settings(installation.folder).api_port == 8800


def test_the_record_of_a_service_has_its_ports_and_no_secret_value() -> None:
    environment = {"API_PORT": "9", "EMBEDDED_S3_PORT": "10", "REDIS_URL": "redis://:word@r/0", "HOME": "/root"}
    described = describe_service("http://127.0.0.1:9", environment)
    assert described.settings == {"API_PORT": "9", "EMBEDDED_S3_PORT": "10"}
    assert described.secrets == ("REDIS_URL",)


def test_a_command_asks_for_the_secrets_that_the_service_was_started_with(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    service = RunningService(7, "http://127.0.0.1:1", {}, ("REDIS_URL",))
    with (
        run_lock.hold(installation.folder, service),
        pytest.raises(CommandError, match="was started with REDIS_URL in its environment"),
    ):
        installed_settings(installation.folder)
