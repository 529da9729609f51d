"""The whole service as processes of its own, on the test servers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from cli.local.servers import SeaweedFS, Valkey
from jobs.model.job import JobStatus
from testing.servers import SECRET_KEY, Servers, free_ports, settings_of, start, stop
from testing.table import Table, new_table

START_LIMIT_S = 60.0
MODULES = {"api": "api", "prepare": "worker.prepare", "generate": "worker.generate", "keeper": "worker.keeper"}
T = TypeVar("T")

FAR_FROM_TIES = {"temperature": 0.9, "top_p": 1.0, "top_k": 5}
"""Sampling with few edges: beside other neighbours in a batch a logit is another by up to 2e-5, and a token whose
draw falls so near to an edge may be another one. By top-k 40 and top-p 0.6, one in 95 runs of 600 tokens parted so.
Which seeds are good, ``tests/integration/engine/test_near_ties.py`` measures."""


@dataclass
class Service:
    table: Table
    environment: dict[str, str]
    logs: Path
    url: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # One client for all: making one loads the machine's certificates, which takes the CPU from the workers.
        self.http = httpx.Client(base_url=self.url, timeout=15)

    def start(self, *names: str, **settings: str) -> None:
        """Start processes; a name may end in a digit, for a second one of a kind."""
        for name in names:
            with (self.logs / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", MODULES[name.rstrip("0123456789")]],
                    env={**os.environ, **self.environment, **settings},
                    stdout=log,
                    stderr=log,
                )

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def suspend(self, name: str) -> None:
        """Returns when all of it stands still: the signal goes to one thread, which stops the others."""
        process = self.processes[name]
        process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{process.pid}/task")
        self.wait_until(lambda: all(map(_stands_still, threads.iterdir())), f"standstill of {name}")

    def resume(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """All together first, then each: they end side by side."""
        self.http.close()
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            stop(process)

    def wait_for_workers(self, **stages: int) -> None:
        def ready() -> bool:
            try:
                found = self.http.get("/readyz").json()["workers"]
            except httpx.HTTPError:
                return False
            return all(found.get(stage, 0) >= count for stage, count in stages.items())

        self.wait_until(ready, f"workers {stages}", START_LIMIT_S)

    def wait_until(self, condition: Callable[[], T], what: str, limit_s: float = 30.0) -> T:
        give_up = time.monotonic() + limit_s
        while not (found := condition()):
            assert time.monotonic() < give_up, f"no {what} after {limit_s} s\n{self.log_tails()}"
            time.sleep(0.02)
        return found

    def submit(self, **body: Any) -> str:
        """Hand in a job; returns its id."""
        reply = self.http.post("/v1/jobs", json=body)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/v1/jobs/{job_id}").raise_for_status().json())

    def wait_for_end(self, job_id: str, limit_s: float = 60.0) -> dict[str, Any]:
        self.wait_until(lambda: JobStatus(self.job(job_id)["status"]).is_terminal, f"end of {job_id}", limit_s)
        return self.job(job_id)

    def log_tails(self) -> str:
        return "\n".join(
            f"── {path.name}\n" + "\n".join(path.read_text("utf-8", "replace").splitlines()[-8:])
            for path in sorted(self.logs.glob("*.log"))
        )

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text("utf-8")


def _stands_still(thread: Path) -> bool:
    return (thread / "stat").read_text("utf-8").rpartition(")")[2].split()[0] == "T"


def new_service(table: Table, environment: dict[str, str], logs: Path, model: Path | str) -> Service:
    """``model``: the untrained pocket model, for tests of long thoughts, or ``pocket``, the one that is shipped."""
    port = free_ports()
    more = {
        "API_PORT": str(port),
        "LOG_FORMAT": "json",
        "WEBHOOK_SCHEDULE_SCALE": "0.01",
        "MODEL": str(model),
        "MODEL_FAMILY": "pocket",
    }
    return Service(table, {**environment, **more}, logs, f"http://127.0.0.1:{port}")


@contextmanager
def standalone_service(folder: Path, model: Path | str) -> Iterator[Service]:
    """With servers of its own, nothing started yet; for what runs outside of pytest."""
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


@pytest.fixture(scope="session")
def service(servers: Servers, pocket_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One of each process, ready, for all tests that do it no harm."""
    environment = servers.environment(database=1, bucket="shared")
    service = new_service(
        new_table(settings_of(environment)), environment, tmp_path_factory.mktemp("service"), pocket_folder
    )
    service.start("api", "prepare", "generate", "keeper")
    try:
        service.wait_for_workers(prepare=2, generate=1, keeper=1)
        yield service
    finally:
        service.stop()


@pytest.fixture
def isolated_service(table: Table, servers: Servers, pocket_folder: Path, tmp_path: Path) -> Iterator[Service]:
    """Nothing started yet; for a test that does harm."""
    environment = {
        **servers.environment(),
        "WEBHOOK_SECRET": table.settings.webhook_secret.get_secret_value(),
    }
    service = new_service(table, environment, tmp_path, pocket_folder)
    yield service
    service.stop()


def question(*parts: str | dict[str, Any]) -> list[dict[str, Any]]:
    """One user message; texts, or whole parts."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return [{"role": "user", "content": content}]


def image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}
