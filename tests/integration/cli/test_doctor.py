"""``thinkqueue doctor`` on installations with one fault each."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from jobs.table import keys
from jobs.table.scripts import connect
from jobs.table.types import WorkerStatus
from testing.processes.proxy import Fault, Proxy
from testing.processes.servers import Servers, free_ports
from testing.table import Table


class Doctor:
    def __init__(self, environment: dict[str, str], state: Path) -> None:
        self.environment = {**environment, "COLUMNS": "200", "API_PORT": str(free_ports())}
        self._state = state

    def __call__(self, *options: str, code: int, **changed: str) -> str:
        environment = self.environment | changed
        result = CliRunner().invoke(app, ["doctor", "--state", str(self._state), *options], env=environment)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result.output


@pytest.fixture
def doctor(table: Table, servers: Servers, tmp_path: Path) -> Doctor:
    secret = table.settings.webhook_secret.get_secret_value()
    return Doctor({**servers.environment(), "WEBHOOK_SECRET": secret}, tmp_path / "state")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True)
    if mount.returncode:
        pytest.skip("no permission to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_no_problem_is_reported_for_a_working_installation(doctor: Doctor, table: Table) -> None:
    for stage in ("prepare", "generate", "keeper"):
        table.store.heartbeat(WorkerStatus(f"w-{stage}", stage, "ready", 1, 1), {})
    output = doctor(code=0)
    assert "no problems found" in output
    assert "supports conditional PUT" in output
    assert table.settings.redis_url.get_secret_value().split("@")[0][8:] not in output, "no secret is shown"


def test_a_store_without_if_match_is_a_note(doctor: Doctor, servers: Servers) -> None:
    proxy = Proxy(servers.seaweedfs.port)
    proxy.faults = [Fault(b"If-Match", reply=b"HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\n\r\n")]
    output = doctor(code=0, S3_ENDPOINT=f"http://127.0.0.1:{proxy.port}")
    proxy.close()
    assert "does not implement If-Match" in output
    assert "Rotations of webhook secrets and API keys fail" in output


def test_redis_that_does_not_answer_is_reported(doctor: Doctor) -> None:
    output = doctor(code=1, REDIS_URL="redis://:pw@127.0.0.1:9/0")
    assert "Redis at 127.0.0.1:9/0 does not answer" in output
    assert "the object store" in output, "the other checks still run"


def test_a_wrong_redis_password_is_reported(doctor: Doctor, servers: Servers) -> None:
    assert "refuses the password" in doctor(code=1, REDIS_URL=f"redis://:wrong@127.0.0.1:{servers.valkey.port}/0")


def test_a_redis_that_evicts_keys_is_reported(doctor: Doctor, table: Table) -> None:
    client = connect(table.settings)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert "maxmemory-policy is allkeys-lru" in doctor(code=1)
    finally:
        client.config_set("maxmemory-policy", "noeviction")


def test_a_missing_epoch_is_reported(doctor: Doctor, table: Table) -> None:
    connect(table.settings).delete(keys.EPOCH)
    assert "thinkqueue init" in doctor(code=1)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("S3_SECRET_KEY", "wrong-secret-0123456789", "S3_SECRET_KEY does not belong to S3_ACCESS_KEY"),
        ("S3_ACCESS_KEY", "nobody", "does not know S3_ACCESS_KEY"),
        ("S3_ENDPOINT", "http://127.0.0.1:9", "correct S3_ENDPOINT"),
        ("MODEL", "/nowhere/model", "there is no such folder"),
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


def test_a_full_disk_is_reported(doctor: Doctor, small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "all").write_bytes(b"x" * 2**21)
    output = doctor(code=1, TMPDIR=str(small_disk))
    assert f"{small_disk} has 0.0 GiB free" in output
    assert "TMPDIR" in output


def test_a_missing_scratch_folder_is_reported(doctor: Doctor, tmp_path: Path) -> None:
    output = doctor(code=1, TMPDIR=str(tmp_path / "nowhere"))
    assert "nowhere does not exist" in output
    assert "TMPDIR" in output


def test_a_taken_port_is_reported(doctor: Doctor) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", int(doctor.environment["API_PORT"])))
        holder.listen()
        assert "is taken by another program" in doctor(code=1)


def test_without_settings_thinkqueue_up_is_recommended(tmp_path: Path) -> None:
    nothing = dict.fromkeys((name for name in os.environ if name.startswith(("REDIS", "S3_", "WEBHOOK"))), "")
    assert "thinkqueue up" in Doctor(nothing, tmp_path)(code=1)


def test_findings_are_json_lines(doctor: Doctor) -> None:
    findings = [
        json.loads(line) for line in doctor("--json", code=1, REDIS_URL="redis://:pw@127.0.0.1:9/0").splitlines()
    ]
    assert all(set(finding) == {"level", "message", "remedy"} for finding in findings)
    problem = next(finding for finding in findings if finding["level"] == "problem")
    assert problem["message"].startswith("Redis at 127.0.0.1:9/0 does not answer")
    assert "REDIS_URL" in problem["remedy"]


def test_networks_that_tenants_can_reach_are_reported(doctor: Doctor) -> None:
    with_keys = {"AUTH": "keys", "EGRESS_ALLOW": "127.0.0.0/8,10.1.0.0/16"}
    output = doctor(code=0, **with_keys)
    assert "127.0.0.0/8 is ignored" in output
    assert "every tenant can reach the servers in 10.1.0.0/16" in output
    assert "servers on this machine" in doctor(code=0, **with_keys, EGRESS_LOOPBACK_WITH_KEYS="true")
    assert "every tenant" not in doctor(code=0, EGRESS_ALLOW="127.0.0.0/8")


def test_missing_fonts_are_reported(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "fonts.conf").write_text("<fontconfig></fontconfig>")
    assert "no Latin and no Chinese font" in doctor(code=0, FONTCONFIG_FILE=str(tmp_path / "fonts.conf"))
