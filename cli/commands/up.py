"""``thinkqueue up``: everything on one machine, until Ctrl-C."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import ValidationError
from rich.console import Console

from cli.errors import AlreadyRunning, CommandError, ProcessExited
from cli.local.installation import Installation
from cli.local.servers import SeaweedFS, Server, Valkey
from cli.local.supervisord import Program, Supervisor, require_setpriv
from jobs.errors import RecoveryNeeded, ThinkqueueError
from jobs.lifecycle.bootstrap import initialize
from jobs.lifecycle.recovery import recover
from runtime.settings import Settings

SERVERS_LIMIT_S = 30.0
READY_LIMIT_S = 120.0
NAME_SERVERS = "Run `thinkqueue up`, or set REDIS_URL, S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY and WEBHOOK_SECRET."
OURS = ("api", "prepare", "generate", "keeper")
MODEL_LIMIT_S = 1_800.0
"""20 GB of weights take minutes from a slow disk, and longer from a hub."""


@dataclass(frozen=True)
class Service:
    """A running installation."""

    url: str
    settings: Settings
    check: Callable[[], None]
    """Raises ProcessExited when a process has ended."""


@contextmanager
def running(installation: Installation, console: Console) -> Iterator[Service]:
    """Run everything inside the block.

    Raises:
        AlreadyRunning, CommandError, ProcessExited
    """
    require_setpriv()
    installation.create()
    values = installation.values(os.environ)
    servers = installation.servers(values)
    environment = installation.environment(values, servers)
    settings = read_settings(environment)
    url = f"http://{settings.api_host}:{settings.api_port}"
    with installation.lock(url):
        ports = {"API_PORT": settings.api_port}
        if settings.monitor_port:
            ports |= {f"MONITOR_PORT ({name})": settings.monitor_port + step for step, name in enumerate(OURS)}
        check_ports(ports, *(server.ports() for server in servers))
        with Supervisor(installation.folder, programs(servers, settings.monitor_port), environment) as supervisor:
            try:
                with console.status("starting Valkey and SeaweedFS" if servers else "connecting to the servers"):
                    start_servers(servers, settings, supervisor, console)
                with console.status(f"loading the model {settings.model}"):
                    await_ready(url, settings, supervisor)
                yield Service(url, settings, supervisor.check)
            finally:
                console.print("stopping …", style="dim")
        for server in servers:
            if isinstance(server, SeaweedFS):
                server.remove_sockets()


def up(installation: Installation, console: Console) -> int:
    """The command. Returns its exit status."""
    stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: _interrupt(stop, number))
    try:
        with running(installation, console) as service:
            greet(service, installation, console)
            while not stop:
                service.check()
                time.sleep(1)
    except AlreadyRunning as error:
        console.print(f"{error}. Its logs: {installation.logs}")
    except (CommandError, ProcessExited) as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _interrupt(stop: list[int], number: int) -> None:
    """The first signal ends the waiting, wherever it is; the next ones must not disturb the stopping."""
    if not stop:
        stop.append(number)
        raise KeyboardInterrupt


def read_settings(environment: dict[str, str]) -> Settings:
    """The processes' settings, read as they will read them."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        return Settings()
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors())
        raise CommandError("Wrong settings:\n" + "\n".join(faults)) from error
    finally:
        os.environ.clear()
        os.environ.update(before)


def installed_settings(state: Path) -> Settings:
    """Of the installation in this folder, or of the servers that the environment names.

    Raises:
        CommandError: there are none.
    """
    installation = Installation(state.resolve())
    values = installation.values(os.environ)
    try:
        return read_settings(installation.environment(values, installation.servers(values)))
    except KeyError as error:
        raise CommandError(f"No servers are named ({error} is missing). {NAME_SERVERS}") from error
    except CommandError as error:
        raise CommandError(f"{error}\n{NAME_SERVERS}" if "Field required" in str(error) else str(error)) from error


def programs(servers: list[Server], monitor_port: int) -> list[Program]:
    """Servers first; stopped the other way round: no new jobs, then the workers, then what they need.

    The first of our processes answers on ``monitor_port``, the others on the next three; 0: none does.
    """
    python = sys.executable
    ports = dict.fromkeys(OURS, 0)
    if monitor_port:
        ports = {name: monitor_port + step for step, name in enumerate(OURS)}
    return [
        *(Program(server.name, server.command(), order=1 + step, stop_s=15) for step, server in enumerate(servers)),
        Program("keeper", [python, "-m", "worker.keeper"], order=10, stop_s=25, monitor_port=ports["keeper"]),
        Program("generate", [python, "-m", "worker.generate"], order=11, stop_s=30, monitor_port=ports["generate"]),
        Program("prepare", [python, "-m", "worker.prepare"], order=12, stop_s=15, monitor_port=ports["prepare"]),
        Program("api", [python, "-m", "api"], order=13, stop_s=12, monitor_port=ports["api"]),
    ]


def check_ports(*settings: dict[str, int]) -> None:
    for name, port in (item for ports in settings for item in ports.items()):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except (OSError, OverflowError) as error:
                raise CommandError(
                    f"Port {port} is taken ({error}). End what uses it, or choose another one with {name.split()[0]}."
                ) from error


def start_servers(servers: list[Server], settings: Settings, supervisor: Supervisor, console: Console) -> None:
    """Wait for the servers, and make them ready for jobs."""
    for server in servers:
        _wait(server.is_ready, SERVERS_LIMIT_S, supervisor, what=server.name)
        if isinstance(server, SeaweedFS):
            server.configure_fsync(settings.s3_bucket)
    try:
        initialize(settings)
    except RecoveryNeeded as error:
        # A Redis of somebody else's may be the wrong one; ours can only have lost its data.
        if not any(isinstance(server, Valkey) for server in servers):
            raise CommandError(f"{error.code}: {error.message}") from error
        console.print(f"Valkey has lost its data: {recover(settings)}", highlight=False)
    except ThinkqueueError as error:
        raise CommandError(f"{error.code}: {error.message}") from error


def await_ready(url: str, settings: Settings, supervisor: Supervisor) -> None:
    def is_ready() -> bool:
        try:
            reply = httpx.get(f"{url}/readyz", timeout=5)
        except httpx.HTTPError:
            return False
        workers = reply.json().get("workers", {})
        return reply.status_code == 200 and all(workers.get(stage) for stage in ("prepare", "generate", "keeper"))

    limit_s = READY_LIMIT_S if settings.model == "pocket" else MODEL_LIMIT_S
    _wait(is_ready, limit_s, supervisor, what="generate")


def _wait(is_ready: Callable[[], bool], limit_s: float, supervisor: Supervisor, *, what: str) -> None:
    give_up = time.monotonic() + limit_s
    while not is_ready():
        supervisor.check()
        if time.monotonic() >= give_up:
            raise CommandError(f"{what} is not ready after {limit_s:.0f} s.\n{supervisor.log_tail(what)}")
        time.sleep(0.1)


def greet(service: Service, installation: Installation, console: Console) -> None:
    console.print(
        f"[bold green]thinkqueue is ready[/]: {service.url}\n"
        f"  try it     thinkqueue demo, or the curl line in the README\n"
        f"  its API    {service.url}/docs\n"
        f"  its logs   {installation.logs}\n"
        f"  Ctrl-C ends everything; jobs and secrets stay in {installation.folder}"
    )
