"""The whole service as operators run it, with a supervisor, and servers that can be killed, suspended and restarted."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

import httpx
import psutil
import redis

from cli.local.servers import SeaweedFS, Valkey
from jobs.table.scripts import connect, script_source
from testing.processes.fork_server import Process
from testing.processes.proxy import Proxy, Trap, When
from testing.processes.servers import SECRET_KEY, Servers, free_ports, settings_of, start, stop
from testing.processes.service import Service, new_service
from testing.table import new_table

FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), Path("/libfaketime is not installed"))
PROCESSES = ("api", "prepare", "generate", "generate2", "keeper", "keeper2")
WORKERS = PROCESSES[1:]
WORKER_STAGES = ("prepare", "generate", "keeper")
GENERATORS = ("generate", "generate2")
KEEPERS = ("keeper", "keeper2")
ROOT = Path(__file__).parents[2]
CALLS = ("seal", "put", "finish")
"""The three steps that end a job."""


@dataclass(frozen=True)
class FaketimeValkey(Valkey):
    """A Valkey whose clock can be moved."""

    def environment(self) -> dict[str, str]:
        if not FAKETIME.exists():
            return {}
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


def _spawn_in_tree(module: str, environment: Mapping[str, str], log: Path) -> Process:
    """Start ``python -m module`` in the source tree of its PYTHONPATH."""
    command = [sys.executable, "-m", module]
    with log.open("ab") as output:
        return subprocess.Popen(
            command, env=dict(environment), cwd=environment["PYTHONPATH"], stdout=output, stderr=output
        )


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


@dataclass
class Fleet:
    folder: Path
    servers: Servers
    service: Service
    proxies: dict[str, tuple[Proxy, Proxy]] = field(default_factory=dict)
    """By process: to Redis and to the object store."""
    is_closing: bool = False
    draining: set[str] = field(default_factory=set)
    """Processes that got SIGTERM and have not ended yet."""
    exit_statuses: dict[str, list[int]] = field(default_factory=dict)
    """Of processes that ended after a SIGTERM."""
    names: tuple[str, ...] = PROCESSES
    trees: dict[str, Path] = field(default_factory=dict)
    """By process: the source tree whose code it runs from its next start on; the others run this one."""
    api_ports: dict[str, int] = field(default_factory=dict)
    """Ports of further API processes."""

    @property
    def temporary(self) -> Path:
        """The folder for temporary files of these processes only."""
        return self.folder / "tmp"

    @classmethod
    def launch(
        cls,
        folder: Path,
        model: Path,
        *,
        names: tuple[str, ...] = PROCESSES,
        tree: Path = ROOT,
        settings: Mapping[str, str] | None = None,
    ) -> "Fleet":
        """Start the servers and the processes.

        Args:
            names: further processes of a kind have a number at the end, such as ``api2``.
            tree: the source tree whose code the processes run.
            settings: environment variables of all processes.
        """
        valkey = FaketimeValkey(folder / "valkey", free_ports(), "chaos-password")
        valkey.folder.mkdir(parents=True)
        (valkey.folder / "clock").write_text("+0")
        weed = SeaweedFS(folder / "seaweedfs", free_ports(5), "chaos-key", SECRET_KEY, ("a1", "b2", "c3", "d4"))
        servers = Servers(valkey, weed)
        for server in (valkey, weed):
            servers.processes[server.name] = start(server, folder / f"{server.name}.log")
        temporary = folder / "tmp"
        temporary.mkdir()
        environment = {**servers.environment(), "TMPDIR": str(temporary), **(settings or {})}
        service = new_service(new_table(settings_of(environment)), environment, folder, model, spawn=_spawn_in_tree)
        fleet = cls(folder, servers, service, names=names, trees=dict.fromkeys(names, tree))
        fleet.api_ports = {name: free_ports() for name in names if name.startswith("api") and name != "api"}
        try:
            for name in names:
                fleet.proxies[name] = (Proxy(valkey.port), Proxy(weed.port))
                fleet.start(name)
            fleet.wait_until_ready()
        except BaseException:
            fleet.close()
            raise
        threading.Thread(target=fleet._supervise, daemon=True).start()
        return fleet

    # ── processes ──

    def url(self, name: str) -> str:
        """Return the address of an API process."""
        return f"http://127.0.0.1:{self.api_ports[name]}" if name in self.api_ports else self.service.url

    def wait_until_ready(self) -> None:
        """Wait until each process is ready, whatever its version."""
        stages = Counter(name.rstrip("0123456789") for name in self.names)
        apis = [self.url(name) for name in self.names if name.startswith("api")]

        def is_ready() -> bool:
            ready = Counter(worker.stage for worker in self.service.table.store.workers() if worker.state == "ready")
            return all(ready[stage] >= stages[stage] for stage in WORKER_STAGES) and all(map(_answers, apis))

        self.service.wait_until(is_ready, "all processes are ready")

    def replace(self, *names: str, tree: Path) -> None:
        """End processes with SIGTERM, and wait until those of another source tree are ready in their place."""
        old = {name: self.pid(name) for name in names}
        for name in names:
            self.trees[name] = tree
            self.drain(name)
        self.service.wait_until(lambda: all(self.pid(name) != old[name] for name in names), f"{names} were replaced")
        assert all(psutil.Process(self.pid(name)).cwd() == str(tree) for name in names)
        self.wait_until_ready()

    def start(self, name: str) -> None:
        to_redis, to_objects = self.proxies[name]
        url = f"redis://:{self.servers.valkey.password}@127.0.0.1:{to_redis.port}/0"
        more = {"PYTHONPATH": str(self.trees[name]), "OMP_NUM_THREADS": "1"}
        if name in self.api_ports:
            more["API_PORT"] = str(self.api_ports[name])
        self.service.start(name, REDIS_URL=url, S3_ENDPOINT=f"http://127.0.0.1:{to_objects.port}", **more)

    def pid(self, name: str) -> int:
        return self.service.processes[name].pid

    def send(self, name: str, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid(name), number)

    def kill(self, name: str) -> None:
        self.send(name, signal.SIGKILL)

    def suspend(self, name: str) -> None:
        self._signal_with_children(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._signal_with_children(name, signal.SIGCONT)

    def _signal_with_children(self, name: str, number: signal.Signals) -> None:
        """Signal a process and its children: the fork server and the decoders of the prepare worker."""
        with suppress(psutil.Error):
            parent = psutil.Process(self.pid(name))
            for process in (parent, *parent.children(recursive=True)):
                process.send_signal(number)

    def kill_child(self, name: str, pick: int) -> None:
        """Kill one of the children of a process, or one of theirs.

        Args:
            pick: any number; chooses the child.
        """
        with suppress(psutil.Error, IndexError):
            children = psutil.Process(self.pid(name)).children(recursive=True)
            children[pick % len(children)].kill()

    def drain(self, name: str) -> None:
        self.draining.add(name)
        self.send(name, signal.SIGTERM)

    def _supervise(self) -> None:
        """Restart processes that have ended, as supervisord or Kubernetes does."""
        while not self.is_closing:
            for name in self.names:
                status = self.service.processes[name].poll()
                if status is not None and not self.is_closing:
                    if name in self.draining:
                        self.draining.discard(name)
                        self.exit_statuses.setdefault(name, []).append(status)
                    self.start(name)
            time.sleep(0.2)

    # ── servers ──

    def restart(self, name: str, *, down_s: float, lost_bytes: int = 0) -> None:
        """Kill a server and start it again.

        Args:
            lost_bytes: removed from the end of the Redis log, as a power cut does.
        """
        process = self.servers.processes[name]
        process.kill()
        process.wait(10)
        if lost_bytes:
            (log,) = (self.folder / "valkey" / "appendonlydir").glob("*.incr.aof")
            os.truncate(log, max(0, log.stat().st_size - lost_bytes))
        time.sleep(down_s)
        server = self.servers.valkey if name == "valkey" else self.servers.seaweedfs
        self.servers.processes[name] = start(server, self.folder / f"{name}.log")

    def suspend_server(self, name: str, seconds: float) -> None:
        process = self.servers.processes[name]
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    def step_clock(self, seconds: int) -> None:
        clock = self.folder / "valkey" / "clock"
        clock.write_text(f"{int(clock.read_text()) + seconds:+d}")

    def kill_connections(self) -> None:
        with suppress(redis.RedisError):
            self.redis().client_kill_filter(_type="normal", skipme=True)

    def redis(self) -> "redis.Redis":
        return connect(self.service.table.settings)

    # ── traps ──

    def set_trap(self, name: str, call: str, when: When, action: Callable[[], None]) -> Trap:
        """Run ``action`` at the next such call of a process."""
        trap = Trap(self._pattern(call), when, action)
        self.proxies[name][1 if call == "put" else 0].set(trap)
        return trap

    def _pattern(self, call: str) -> bytes:
        if call == "put":
            return b"PUT /" + self.service.table.settings.s3_bucket.encode() + b"/results/"
        return sha1(script_source(call).encode()).hexdigest().encode()

    # ── shutdown ──

    def close(self) -> None:
        self.is_closing = True
        for name in self.names:
            self.resume(name)
        self.service.stop()
        for pair in self.proxies.values():
            for proxy in pair:
                proxy.close()
        for process in self.servers.processes.values():
            process.send_signal(signal.SIGCONT)
            stop(process)
        self.servers.seaweedfs.remove_sockets()
