"""Runs the whole service on this machine: the embedded servers, the api, both workers and the keeper."""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from rich.console import Console

from cli.errors import CommandError
from cli.local import run_lock
from cli.local.installation import Installation
from cli.local.servers import SeaweedFS, Server, Valkey
from cli.local.settings import describe_service, read_settings
from cli.local.supervisord import Program, Supervisor, require_setpriv
from jobs.errors import RecoveryNeeded, ThinkqueueError
from jobs.lifecycle.bootstrap import initialize
from jobs.lifecycle.recovery.reconcile import recover
from runtime.settings import Settings

SERVERS_TIMEOUT_S = 30.0
READY_TIMEOUT_S = 120.0
MODEL_TIMEOUT_S = 1_800.0
"""20 GB of weights take minutes from a slow disk, and longer from a model hub."""
PROCESSES = ("api", "prepare", "generate", "keeper")
"""In the order of their monitor ports."""


@dataclass(frozen=True)
class Service:
    """A running service."""

    url: str
    settings: Settings
    check: Callable[[], list[str]]
    """Returns the processes that were started again since the last call; raises ProcessExited when one cannot be."""


@contextmanager
def run_service(installation: Installation, console: Console) -> Iterator[Service]:
    """Start everything, yield when all processes are ready, and stop everything at the end of the block.

    Raises:
        AlreadyRunning: another process runs from the same folder.
        CommandError: a setting is wrong, a port is taken, or a process is not ready in time.
        ProcessExited: a process has exited.
    """
    require_setpriv()
    installation.create()
    values = installation.values(os.environ)
    servers = installation.servers(values)
    environment = installation.environment(values, servers)
    settings = read_settings(environment)
    url = f"http://{settings.api_host}:{settings.api_port}"
    with run_lock.hold(installation.folder, describe_service(url, os.environ)):
        check_ports(
            {"API_PORT": settings.api_port},
            monitor_ports(settings.monitor_port),
            *(server.ports() for server in servers),
        )
        with Supervisor(installation.folder, programs(servers, settings.monitor_port), environment) as supervisor:
            try:
                with console.status("starting Valkey and SeaweedFS" if servers else "connecting to the servers"):
                    initialize_servers(servers, settings, supervisor, console)
                with console.status(f"loading the model {settings.model}"):
                    await_ready(url, settings, supervisor)
                yield Service(url, settings, supervisor.check)
            finally:
                console.print("stopping …", style="dim")
        for server in servers:
            if isinstance(server, SeaweedFS):
                server.remove_sockets()


def monitor_ports(first: int) -> dict[str, int]:
    """Return each process's monitor port by the setting that moves it; empty if ``first`` is 0."""
    return {f"MONITOR_PORT ({name})": first + step for step, name in enumerate(PROCESSES)} if first else {}


def programs(servers: list[Server], monitor_port: int) -> list[Program]:
    """Return what supervisord runs, in starting order: servers, keeper, workers, api.

    It stops them in the opposite order: first no new jobs arrive, then the workers end, then what they need.

    Args:
        monitor_port: of the api; the other processes use the next three. 0: no monitor ports.
    """
    python = sys.executable
    ports = {name: monitor_port + step if monitor_port else 0 for step, name in enumerate(PROCESSES)}
    return [
        *(Program(server.name, server.command(), order=1 + step, stop_s=15) for step, server in enumerate(servers)),
        Program("keeper", [python, "-m", "worker.keeper"], order=10, stop_s=25, monitor_port=ports["keeper"]),
        Program("generate", [python, "-m", "worker.generate"], order=11, stop_s=30, monitor_port=ports["generate"]),
        Program("prepare", [python, "-m", "worker.prepare"], order=12, stop_s=15, monitor_port=ports["prepare"]),
        Program("api", [python, "-m", "api"], order=13, stop_s=12, monitor_port=ports["api"]),
    ]


def check_ports(*settings: dict[str, int]) -> None:
    """Raise CommandError if a port is taken. Each argument maps the name of a setting to its port."""
    for name, port in (item for ports in settings for item in ports.items()):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except (OSError, OverflowError) as error:
                raise CommandError(
                    f"Port {port} is taken ({error}). Stop what uses it, or set another port with {name.split()[0]}."
                ) from error


def initialize_servers(servers: list[Server], settings: Settings, supervisor: Supervisor, console: Console) -> None:
    """Wait until the servers are ready, then create the bucket and the first epoch, or recover a lost job table."""
    for server in servers:
        _wait(server.is_ready, SERVERS_TIMEOUT_S, supervisor, what=server.name)
        if isinstance(server, SeaweedFS):
            server.configure_fsync(settings.s3_bucket)
    try:
        initialize(settings)
    except RecoveryNeeded as error:
        # An external Redis may be the wrong one, so the operator decides. The embedded one can only have lost its data.
        if not any(isinstance(server, Valkey) for server in servers):
            raise CommandError(f"{error.code}: {error.message}") from error
        console.print(f"Valkey has lost its data: {recover(settings)}", highlight=False)
    except ThinkqueueError as error:
        raise CommandError(f"{error.code}: {error.message}") from error


def await_ready(url: str, settings: Settings, supervisor: Supervisor) -> None:
    def is_ready() -> bool:
        try:
            reply = httpx.get(f"{url}/healthz", timeout=5)
        except httpx.HTTPError:
            return False
        workers = reply.json().get("workers", {})
        return reply.status_code == 200 and all(workers.get(stage) for stage in ("prepare", "generate", "keeper"))

    timeout_s = READY_TIMEOUT_S if settings.model == "pocket" else MODEL_TIMEOUT_S
    _wait(is_ready, timeout_s, supervisor, what="generate")


def _wait(is_ready: Callable[[], bool], timeout_s: float, supervisor: Supervisor, *, what: str) -> None:
    give_up = time.monotonic() + timeout_s
    while not is_ready():
        supervisor.check_start()
        if time.monotonic() >= give_up:
            raise CommandError(f"{what} is not ready after {timeout_s:.0f} s.\n{supervisor.log_tail(what)}")
        time.sleep(0.1)
