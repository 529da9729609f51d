"""Three Valkeys, one of them the primary, and three Sentinels that watch them."""

import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.local.servers import valkey_binary
from testing.processes.servers import free_ports, stop
from testing.processes.waiting import TIME_SCALE, wait_until

MASTER = "jobs"
PASSWORD, SENTINEL_PASSWORD = "trio-password", "sentinel-password"
DOWN_AFTER_MS = int(1_500 * TIME_SCALE)


@dataclass
class SentinelTrio:
    folder: Path
    ports: tuple[int, ...] = ()
    sentinel_ports: tuple[int, ...] = ()
    processes: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        nodes = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        return f"redis+sentinel://:{PASSWORD}@{nodes}/0?master={MASTER}&sentinel_password={SENTINEL_PASSWORD}"

    def start(self) -> None:
        first = free_ports(6)
        self.ports, self.sentinel_ports = tuple(range(first, first + 3)), tuple(range(first + 3, first + 6))
        for port in self.ports:
            primary = "" if port == first else f"replicaof 127.0.0.1 {first}\n"
            self._write(
                port,
                f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\nappendonly yes\nsave ''\nmaxmemory 256mb\n"
                f"repl-diskless-sync-delay 0\nmin-replicas-to-write 1\nmin-replicas-max-lag 10\n{primary}",
            )
            self.launch(port)
        wait_until(lambda: self._replicas(first) == 2, "two replicas are connected")
        for port in self.sentinel_ports:
            self._write(
                port,
                f"requirepass {SENTINEL_PASSWORD}\nsentinel sentinel-pass {SENTINEL_PASSWORD}\n"
                f"sentinel monitor {MASTER} 127.0.0.1 {first} 2\nsentinel auth-pass {MASTER} {PASSWORD}\n"
                f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {MASTER} {10 * DOWN_AFTER_MS}\n",
            )
            self.launch(port)
        for port in self.sentinel_ports:
            wait_until(partial(self._knows_all, port), f"the Sentinel {port} knows the others and both replicas")

    def launch(self, port: int) -> None:
        """Start the server of a port, for the first time or again."""
        command = [str(valkey_binary()), str(self.folder / str(port) / "valkey.conf")]
        if port in self.sentinel_ports:
            command.append("--sentinel")
        with (self.folder / f"{port}.log").open("ab") as log:
            self.processes[port] = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: self._answers(port), f"the server {port} answers")

    def kill(self, port: int) -> None:
        process = self.processes.pop(port)
        process.kill()
        process.wait(10)

    def stop(self) -> None:
        for process in self.processes.values():
            stop(process)

    def client(self, port: int) -> "redis.Redis":
        """Return a client of one server or Sentinel."""
        password = SENTINEL_PASSWORD if port in self.sentinel_ports else PASSWORD
        return redis.Redis(
            port=port, password=password, decode_responses=True, socket_timeout=2, retry=Retry(NoBackoff(), 0)
        )

    def primary(self) -> int:
        """Return the port of the server that most Sentinels name the primary, and that is one."""
        named = [self._named(port) for port in self.sentinel_ports if port in self.processes]
        return wait_until(lambda: max(set(named), key=named.count), "the Sentinels name a primary")

    def wait_for_failover(self, earlier: int) -> int:
        """Wait until another server than ``earlier`` is the primary. Return its port."""

        def find() -> int | None:
            found = self.primary()
            if found == earlier or found not in self.processes:
                return None
            with suppress(redis.RedisError):
                return found if self.client(found).info("replication")["role"] == "master" else None
            return None

        return wait_until(find, "a replica is promoted")

    def _named(self, sentinel_port: int) -> int:
        with suppress(redis.RedisError):
            address: Any = self.client(sentinel_port).sentinel_get_master_addr_by_name(MASTER)
            return int(address[1])
        return 0

    def _replicas(self, port: int) -> int:
        return int(self.client(port).info("replication")["connected_slaves"])

    def _knows_all(self, sentinel_port: int) -> bool:
        state: Any = self.client(sentinel_port).sentinel_master(MASTER)
        return (int(state["num-other-sentinels"]), int(state["num-slaves"])) == (2, 2)

    def _answers(self, port: int) -> bool:
        with suppress(redis.RedisError):
            return bool(self.client(port).ping())
        return False

    def _write(self, port: int, lines: str) -> None:
        folder = self.folder / str(port)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "valkey.conf").write_text(f"bind 127.0.0.1\nport {port}\ndir {folder}\n{lines}", "utf-8")
