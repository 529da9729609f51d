"""``thinkqueue doctor`` on set-ups that are broken in one way each."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from jobs.table.scripts import connect
from jobs.table.types import WorkerStatus
from testing.servers import Servers, free_ports
from testing.table import Table


class Doctor:
    def __init__(self, environment: dict[str, str], state: Path) -> None:
        self.environment = {**environment, "COLUMNS": "200", "API_PORT": str(free_ports())}
        self._state = state

    def __call__(self, *, code: int, **changed: str) -> str:
        environment = self.environment | changed
        result = CliRunner().invoke(app, ["doctor", "--state", str(self._state)], env=environment)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result.output


@pytest.fixture
def doctor(table: Table, servers: Servers, tmp_path: Path) -> Doctor:
    secret = table.settings.webhook_secret.get_secret_value()
    return Doctor({**servers.environment(), "WEBHOOK_SECRET": secret}, tmp_path / "state")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real one, of a mebibyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True)
    if mount.returncode:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_sound_set_up_is_called_sound(doctor: Doctor, table: Table) -> None:
    for stage in ("prepare", "generate", "keeper"):
        table.store.heartbeat(WorkerStatus(f"w-{stage}", stage, "ready", 1, 1), {})
    said = doctor(code=0)
    assert "nothing is wrong" in said
    assert "results are final there" in said
    assert table.settings.redis_url.get_secret_value().split("@")[0][8:] not in said, "no secret is shown"


def test_no_redis(doctor: Doctor) -> None:
    said = doctor(code=1, REDIS_URL="redis://:pw@127.0.0.1:9/0")
    assert "Redis at 127.0.0.1:9/0 does not answer" in said
    assert "the object store" in said, "the other checks are made all the same"


def test_a_wrong_redis_password(doctor: Doctor, servers: Servers) -> None:
    assert "refuses the password" in doctor(code=1, REDIS_URL=f"redis://:wrong@127.0.0.1:{servers.valkey.port}/0")


def test_a_redis_that_throws_away(doctor: Doctor, table: Table) -> None:
    client = connect(table.settings)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert "maxmemory-policy is allkeys-lru" in doctor(code=1)
    finally:
        client.config_set("maxmemory-policy", "noeviction")


def test_an_installation_that_was_never_initialized(doctor: Doctor, table: Table) -> None:
    connect(table.settings).delete("epoch")
    assert "thinkqueue init" in doctor(code=1)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("S3_SECRET_KEY", "wrong-secret-0123456789", "S3_SECRET_KEY is not the one"),
        ("S3_ACCESS_KEY", "nobody", "does not know S3_ACCESS_KEY"),
        ("S3_ENDPOINT", "http://127.0.0.1:9", "correct S3_ENDPOINT"),
        ("MODEL", "/nowhere/model", "has no config.json"),
        ("MODEL_DEVICE", "cuda", "shows no GPU"),
        ("WEBHOOK_SECRET", "whsec_short", "WEBHOOK_SECRET"),
        ("API_HOST", "0.0.0.0", "AUTH=keys"),
        ("EGRESS_ALLOW", "everything", "EGRESS_ALLOW"),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(doctor: Doctor, name: str, value: str, says: str) -> None:
    if name == "MODEL_DEVICE" and Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU here")
    assert says in doctor(code=1, **{name: value})


def test_a_full_disk(doctor: Doctor, small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "all").write_bytes(b"x" * 2**21)
    said = doctor(code=1, TMPDIR=str(small_disk))
    assert f"{small_disk} has 0.0 GiB free" in said
    assert "TMPDIR" in said


def test_a_scratch_folder_that_is_not_there(doctor: Doctor, tmp_path: Path) -> None:
    said = doctor(code=1, TMPDIR=str(tmp_path / "nowhere"))
    assert "nowhere is not there" in said
    assert "TMPDIR" in said


def test_a_taken_port(doctor: Doctor) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", int(doctor.environment["API_PORT"])))
        holder.listen()
        assert "is taken by something else" in doctor(code=1)


def test_nothing_at_all(tmp_path: Path) -> None:
    nothing = dict.fromkeys((name for name in os.environ if name.startswith(("REDIS", "S3_", "WEBHOOK"))), "")
    assert "thinkqueue up" in Doctor(nothing, tmp_path)(code=1)
