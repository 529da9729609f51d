"""The whole service as operators run it: two generate workers, two keepers, a supervisor; and servers that can be
harmed."""

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from typing import Any

import psutil
import redis

from cli.local.servers import SeaweedFS, Valkey
from jobs.table.scripts import connect, script_source
from testing.proxy import Proxy, Trap, When
from testing.servers import SECRET_KEY, Servers, free_ports, settings_of, start, stop
from testing.service import Service, new_service
from testing.table import new_table

FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), Path("/libfaketime is not installed"))
FLEET = ("api", "prepare", "generate", "generate2", "keeper", "keeper2")
WORKERS = FLEET[1:]
GENERATORS = ("generate", "generate2")
KEEPERS = ("keeper", "keeper2")
CALLS = ("seal", "put", "finish")
"""The three steps of an end, as they pass by on the wire."""


@dataclass(frozen=True)
class FakedValkey(Valkey):
    """Whose clock can be moved."""

    def environment(self) -> dict[str, str]:
        if not FAKETIME.exists():
            return {}
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@dataclass
class Fleet:
    folder: Path
    servers: Servers
    service: Service
    proxies: dict[str, tuple[Proxy, Proxy]] = field(default_factory=dict)
    """To Redis and to the object store, by process."""
    is_closing: bool = False
    leaving: set[str] = field(default_factory=set)
    """Those that were asked to end."""
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """How those ended that were asked to."""

    @classmethod
    def launch(cls, folder: Path, model: Path) -> "Fleet":
        valkey = FakedValkey(folder / "valkey", free_ports(), "chaos-password")
        valkey.folder.mkdir(parents=True)
        (valkey.folder / "clock").write_text("+0")
        weed = SeaweedFS(folder / "seaweedfs", free_ports(5), "chaos-key", SECRET_KEY, ("a1", "b2", "c3", "d4"))
        servers = Servers(valkey, weed)
        for server in (valkey, weed):
            servers.processes[server.name] = start(server, folder / f"{server.name}.log")
        environment = servers.environment()
        service = new_service(new_table(settings_of(environment)), environment, folder, model)
        fleet = cls(folder, servers, service)
        for name in FLEET:
            fleet.proxies[name] = (Proxy(valkey.port), Proxy(weed.port))
            fleet.begin(name)
        service.wait_for_workers(prepare=2, generate=2, keeper=2)
        threading.Thread(target=fleet._supervise, daemon=True).start()
        return fleet

    # ── processes ──

    def begin(self, name: str) -> None:
        to_redis, to_blobs = self.proxies[name]
        url = f"redis://:{self.servers.valkey.password}@127.0.0.1:{to_redis.port}/0"
        self.service.start(name, REDIS_URL=url, S3_ENDPOINT=f"http://127.0.0.1:{to_blobs.port}", OMP_NUM_THREADS="1")

    def pid(self, name: str) -> int:
        return self.service.processes[name].pid

    def send(self, name: str, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid(name), number)

    def kill(self, name: str) -> None:
        self.send(name, signal.SIGKILL)

    def suspend(self, name: str) -> None:
        self._to_family(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._to_family(name, signal.SIGCONT)

    def _to_family(self, name: str, number: signal.Signals) -> None:
        """With its children: those of the prepare worker do its work."""
        with suppress(psutil.Error):
            parent = psutil.Process(self.pid(name))
            for process in (parent, *parent.children()):
                process.send_signal(number)

    def kill_child(self, name: str, pick: int) -> None:
        """One process of several."""
        with suppress(psutil.Error, IndexError):
            children = psutil.Process(self.pid(name)).children()
            children[pick % len(children)].kill()

    def drain(self, name: str) -> None:
        self.leaving.add(name)
        self.send(name, signal.SIGTERM)

    def _supervise(self) -> None:
        """Whoever has ended is started anew, as supervisord or Kubernetes would."""
        while not self.is_closing:
            for name in FLEET:
                status = self.service.processes[name].poll()
                if status is not None and not self.is_closing:
                    if name in self.leaving:
                        self.leaving.discard(name)
                        self.statuses.setdefault(name, []).append(status)
                    self.begin(name)
            time.sleep(0.2)

    # ── servers ──

    def restart(self, name: str, *, down_s: float, lost_bytes: int = 0) -> None:
        """kill -9, and back after a while; ``lost_bytes``: what a power cut takes of the end of Redis' log."""
        process = self.servers.processes[name]
        process.kill()
        process.wait(10)
        if lost_bytes:
            (log,) = (self.folder / "valkey" / "appendonlydir").glob("*.incr.aof")
            os.truncate(log, max(0, log.stat().st_size - lost_bytes))
        time.sleep(down_s)
        server = self.servers.valkey if name == "valkey" else self.servers.seaweedfs
        self.servers.processes[name] = start(server, self.folder / f"{name}.log")

    def freeze_server(self, name: str, seconds: float) -> None:
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

    # ── aimed at one call ──

    def aim(self, name: str, call: str, when: When, spring: Any) -> Trap:
        trap = Trap(self._mark(call), when, spring)
        self.proxies[name][1 if call == "put" else 0].set(trap)
        return trap

    def _mark(self, call: str) -> bytes:
        if call == "put":
            return b"PUT /" + self.service.table.settings.s3_bucket.encode() + b"/results/"
        return sha1(script_source(call).encode()).hexdigest().encode()

    # ── the end ──

    def close(self) -> None:
        self.is_closing = True
        for name in FLEET:
            self.resume(name)
        self.service.stop()
        for pair in self.proxies.values():
            for proxy in pair:
                proxy.close()
        for process in self.servers.processes.values():
            process.send_signal(signal.SIGCONT)
            stop(process)
        self.servers.seaweedfs.remove_sockets()
