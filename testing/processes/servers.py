"""A real Valkey and a real SeaweedFS on free ports and in a temporary folder, one pair per pytest session."""

import base64
import os
import random
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.local.servers import GRPC_OFFSET, SeaweedFS, Server, Valkey, valkey_binary, weed_binary
from jobs.table.scripts import connect
from runtime.settings import Settings
from testing.processes.fork_server import Process
from testing.processes.waiting import TIME_SCALE, wait_until

SECRET_KEY = "test-secret-key-0123456789"


@dataclass(frozen=True)
class Servers:
    valkey: Valkey
    seaweedfs: SeaweedFS
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """By name, once they run."""
    databases: Iterator[int] = field(default_factory=lambda: iter(range(1, 16)))
    """Redis databases that are free; 0 is that of the fixture ``table``, emptied for each test."""

    def environment(self, *, database: int = 0, bucket: str = "thinkqueue") -> dict[str, str]:
        """Return what a process needs to reach them."""
        return {
            "REDIS_URL": f"{self.valkey.url.rpartition('/')[0]}/{database}",
            "S3_ENDPOINT": self.seaweedfs.endpoint,
            "S3_BUCKET": bucket,
            "S3_ACCESS_KEY": self.seaweedfs.access_key,
            "S3_SECRET_KEY": self.seaweedfs.secret_key,
            "WEBHOOK_SECRET": "whsec_" + base64.b64encode(os.urandom(24)).decode(),
            "EGRESS_ALLOW": "127.0.0.0/8,::1/128",
        }


def free_ports(count: int = 1) -> int:
    """Return the first of ``count`` consecutive free ports.

    These ports, and the second ports of SeaweedFS 10,000 above, are below 32,768: from there on, Linux assigns ports
    to outgoing connections.
    """
    for _ in range(100):
        first = random.randrange(11_000, 22_000)
        if all(_is_free(port) and _is_free(port + GRPC_OFFSET) for port in range(first, first + count)):
            return first
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def launch(server: Server, log: Path) -> subprocess.Popen[bytes]:
    """Start the process of a server without waiting for it."""
    with log.open("ab") as output:
        return subprocess.Popen(
            server.command(), env={**os.environ, **server.environment()}, stdout=output, stderr=output
        )


def start(server: Server, log: Path) -> subprocess.Popen[bytes]:
    """Start a server and wait until it is ready."""
    process = launch(server, log)

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text("utf-8", "replace")[-2_000:]
        return server.is_ready()

    try:
        wait_until(is_ready, f"{server.name} is ready")
    except AssertionError:
        process.kill()
        process.wait(10)
        raise
    return process


def stop(process: Process) -> None:
    """Send SIGTERM, and SIGKILL after ten seconds."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    try:
        valkey_binary(), weed_binary()
    except CommandError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("servers")
    found = Servers(
        Valkey(folder / "valkey", free_ports(), "test-password"),
        SeaweedFS(folder / "seaweedfs", free_ports(5), "test-key", SECRET_KEY, ("a1", "b2", "c3", "d4")),
    )
    for server in (found.valkey, found.seaweedfs):
        found.processes[server.name] = start(server, folder / f"{server.name}.log")
    yield found
    for process in found.processes.values():
        stop(process)
    found.seaweedfs.remove_sockets()


@pytest.fixture
def settings(servers: Servers) -> Settings:
    """The settings for these servers; empties Redis database 0."""
    settings = settings_of({**servers.environment(), **short_times()})
    connect(settings).flushdb()
    return settings


def short_times() -> dict[str, str]:
    """Return settings with which a lost worker is noticed, and a busy one drains, within seconds."""
    return {
        "LEASE_S": str(3 * TIME_SCALE),
        "HEARTBEAT_S": str(0.5 * TIME_SCALE),
        "PREPARE_DRAIN_GRACE_S": "1",
        "GENERATE_DRAIN_GRACE_S": "2",
    }


def settings_of(environment: dict[str, str]) -> Settings:
    return Settings(**{name.lower(): value for name, value in environment.items()})  # type: ignore[arg-type]
