"""The whole service as processes of its own, on the test servers."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from cli.local.servers import SeaweedFS, Valkey
from jobs.model.job import JobStatus
from jobs.objects.store import ObjectStore
from jobs.tenants.api_key import ANONYMOUS
from jobs.tenants.webhook_secrets import WebhookSecrets
from testing.processes.fork_server import ForkedProcess, Process
from testing.processes.servers import SECRET_KEY, Servers, free_ports, settings_of, short_times, start, stop
from testing.processes.waiting import LIMIT_S, wait_until
from testing.table import Table, new_table

MODULES = {"api": "api", "prepare": "worker.prepare", "generate": "worker.generate", "keeper": "worker.keeper"}
ALL = tuple(MODULES)
Spawn = Callable[[str, Mapping[str, str], Path], Process]
"""Starts a module as a process, with an environment and a log file."""
T = TypeVar("T")


def spawn(module: str, environment: Mapping[str, str], log: Path) -> Process:
    """Start ``python -m module`` as an operator does."""
    with log.open("ab") as output:
        return subprocess.Popen([sys.executable, "-m", module], env=dict(environment), stdout=output, stderr=output)


@dataclass
class Service:
    table: Table
    environment: dict[str, str]
    logs: Path
    url: str
    spawn: Spawn = spawn
    processes: dict[str, Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # One client for all calls: creating one loads the certificates of the machine, which costs CPU time.
        self.http = httpx.Client(base_url=self.url, timeout=30)

    # ── processes ──

    def start(self, *names: str, **settings: str) -> None:
        """Start processes.

        Args:
            names: keys of ``MODULES``; a digit at the end starts another one of a kind, such as ``generate2``.
            settings: environment variables for these processes only.
        """
        for name in names:
            module = MODULES[name.rstrip("0123456789")]
            environment = {**os.environ, **self.environment, **settings}
            self.processes[name] = self.spawn(module, environment, self.logs / f"{name}.log")

    def start_all(self, **settings: str) -> None:
        """Start one process of each kind and wait until all are ready."""
        self.start(*ALL, **settings)
        self.wait_for_workers(prepare=1, generate=1, keeper=1)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait(10)

    def drain(self, *names: str, limit_s: float = 60.0) -> list[int]:
        """Send SIGTERM to processes and return their exit statuses."""
        for name in names:
            self.processes[name].terminate()
        return [self.processes.pop(name).wait(limit_s) for name in names]

    def suspend(self, name: str) -> None:
        """Send SIGSTOP and return when every thread has stopped: the signal goes to one, which stops the others."""
        process = self.processes[name]
        process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{process.pid}/task")
        self.wait_until(lambda: all(map(_is_stopped, threads.iterdir())), f"{name} is suspended")

    def resume(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End all processes, at the same time."""
        self.http.close()
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            stop(process)

    # ── jobs ──

    @property
    def webhook_secret(self) -> str:
        """The secret of the tenant of a service without API keys."""
        settings = settings_of(self.environment)
        return WebhookSecrets(ObjectStore(settings), settings).current(ANONYMOUS.tenant)

    def submit(self, **body: Any) -> str:
        """Submit a job and return its id."""
        reply = self.http.post("/v1/jobs", json=body)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/v1/jobs/{job_id}").raise_for_status().json())

    def wait_for_end(self, job_id: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """Wait until a job has ended, and return it."""
        self.wait_until(lambda: JobStatus(self.job(job_id)["status"]).is_terminal, f"{job_id} has ended", limit_s)
        return self.job(job_id)

    def wait_for_delivery(self, job_id: str) -> dict[str, Any]:
        """Wait until the only webhook of a job is delivered or abandoned, and return its delivery."""
        url = f"/v1/jobs/{job_id}/deliveries"

        def ended() -> dict[str, Any] | None:
            deliveries: list[dict[str, Any]] = self.http.get(url).raise_for_status().json()["data"]
            return next((delivery for delivery in deliveries if delivery["state"] != "pending"), None)

        return self.wait_until(ended, f"the webhook of {job_id}")

    def wait_for_workers(self, **stages: int) -> None:
        """Wait until the API answers and that many workers of each stage are ready."""

        def ready() -> bool:
            try:
                found = self.http.get("/healthz").json()["workers"]
            except httpx.HTTPError:
                return False
            return all(found.get(stage, 0) >= count for stage, count in stages.items())

        self.wait_until(ready, f"workers {stages} are ready")

    def wait_until(self, condition: Callable[[], T | None], what: str, limit_s: float = LIMIT_S) -> T:
        return wait_until(condition, what, limit_s, details=self.log_tails)

    # ── logs ──

    def log_tails(self) -> str:
        return "\n".join(
            f"── {path.name}\n" + "\n".join(path.read_text("utf-8", "replace").splitlines()[-8:])
            for path in sorted(self.logs.glob("*.log"))
        )

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text("utf-8")


def _is_stopped(thread: Path) -> bool:
    return (thread / "stat").read_text("utf-8").rpartition(")")[2].split()[0] == "T"


def new_service(
    table: Table, environment: Mapping[str, str], logs: Path, model: Path | str, *, spawn: Spawn = spawn
) -> Service:
    """Return a service of which no process is started.

    Args:
        model: a folder, such as that of the untrained pocket model, which thinks for long; or ``pocket``, the model
            that is shipped.
    """
    port = free_ports()
    more = {
        "API_PORT": str(port),
        "LOG_FORMAT": "json",
        "WEBHOOK_SCHEDULE_SCALE": "0.01",
        "MODEL": str(model),
        "MODEL_FAMILY": "pocket",
    }
    return Service(table, {**more, **environment}, logs, f"http://127.0.0.1:{port}", spawn)


@contextmanager
def standalone_service(folder: Path, model: Path | str) -> Iterator[Service]:
    """A service with servers of its own and no process started, for programs outside of pytest."""
    servers = Servers(
        Valkey(folder / "valkey", free_ports(), "bench-password"),
        SeaweedFS(folder / "seaweedfs", free_ports(5), "bench-key", SECRET_KEY, ("a1", "b2", "c3", "d4")),
    )
    processes = [start(server, folder / f"{server.name}.log") for server in (servers.valkey, servers.seaweedfs)]
    environment = servers.environment()
    service = new_service(new_table(settings_of(environment)), environment, folder, model)
    try:
        yield service
    finally:
        service.stop()
        for process in processes:
            stop(process)
        servers.seaweedfs.remove_sockets()


@contextmanager
def started_service(
    servers: Servers, bucket: str, logs: Path, model: Path | str, *names: str, **settings: str
) -> Iterator[Service]:
    """A service on a Redis database and a bucket of its own, for fixtures that many tests share.

    Args:
        names: the processes to start; by default one of each kind.
        settings: environment variables of these processes.
    """
    environment = {**servers.environment(database=next(servers.databases), bucket=bucket), **short_times(), **settings}
    service = new_service(new_table(settings_of(environment)), environment, logs, model, spawn=ForkedProcess)
    try:
        service.start(*(names or ALL))
        service.wait_for_workers(**dict.fromkeys((name for name in names or ALL if name != "api"), 1))
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="session")
def service(servers: Servers, pocket_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One ready process of each kind with the untrained model, for all tests that do no harm to it."""
    with started_service(servers, "shared", tmp_path_factory.mktemp("service"), pocket_folder) as service:
        yield service


@pytest.fixture
def isolated_service(table: Table, servers: Servers, pocket_folder: Path, tmp_path: Path) -> Iterator[Service]:
    """A service of which no process is started, for a test that kills, stops or configures processes."""
    environment = {
        **servers.environment(),
        **short_times(),
        "WEBHOOK_SECRET": table.settings.webhook_secret.get_secret_value(),
    }
    service = new_service(table, environment, tmp_path, pocket_folder, spawn=ForkedProcess)
    yield service
    service.stop()
