"""Redis without memory, servers without disk: refused at the door, what is in ends, and all is well with room."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cli.local.servers import Server
from jobs.model.job import Stage
from jobs.table.scripts import connect
from testing.request_bodies import question
from testing.requirements import missing
from testing.servers import Servers, free_ports, settings_of, start, stop
from testing.service import Service, new_service
from testing.table import new_table

STALL_TIMEOUT_S, CHECK_INTERVAL_S = 8.0, 0.5
SHORT: dict[str, Any] = {"messages": question("Hi."), "thinking": {"budget_tokens": 4}, "max_answer_tokens": 4}


def status(service: Service) -> tuple[int, str]:
    reply = service.http.post("/v1/jobs", json=SHORT)
    return reply.status_code, reply.json().get("code", "")


def test_a_redis_without_memory_refuses_at_the_door_and_drains(isolated_service: Service) -> None:
    isolated_service.start("api", "prepare", "generate", "keeper")
    isolated_service.wait_for_workers(prepare=2, generate=1, keeper=1)
    redis = connect(isolated_service.table.settings)
    limit = redis.config_get("maxmemory")["maxmemory"]
    ids = [isolated_service.submit(**SHORT) for _ in range(6)]
    try:
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) // 2)
        isolated_service.wait_until(lambda: status(isolated_service) == (429, "queue_full"), "a refusal")
        for job_id in ids:
            assert isolated_service.wait_for_end(job_id)["status"] == "completed"
    finally:
        redis.config_set("maxmemory", limit)
    assert isolated_service.wait_for_end(isolated_service.submit(**SHORT))["status"] == "completed"
    for name in ("prepare", "generate", "keeper"):
        assert isolated_service.processes[name].poll() is None, f"{name} lived through it"


@dataclass(frozen=True)
class SmallDisk:
    folder: Path
    mb: int

    def mount(self) -> None:
        self.folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={self.mb}m", "tmpfs", str(self.folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            missing("The right to mount a small disk", "run as root, with CAP_SYS_ADMIN")

    def fill(self) -> Path:
        ballast = self.folder / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        return ballast

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk", mb=64)
    disk.mount()
    yield disk
    disk.unmount()


def waiting_bells(service: Service) -> list[str]:
    """Freeze the prepare worker with bells in its list; returns the jobs that they are for."""
    service.suspend("prepare")
    job_ids = [service.submit(**SHORT) for _ in range(3)]
    service.wait_until(lambda: service.table.store.pending_wakeups(Stage.PREPARE), "bells that nobody hears")
    return job_ids


@pytest.mark.timeout(240)
@pytest.mark.parametrize("server", ["valkey", "seaweedfs"])
def test_a_full_disk_is_a_503_and_over_when_there_is_room(
    servers: Servers, disk: SmallDisk, pocket_folder: Path, tmp_path: Path, server: str
) -> None:
    cramped: Server
    if server == "valkey":
        cramped = replace(servers.valkey, folder=disk.folder / "valkey", port=free_ports())
        own = replace(servers, valkey=cramped)
    else:
        cramped = replace(servers.seaweedfs, folder=disk.folder / "seaweedfs", port=free_ports(5))
        own = replace(servers, seaweedfs=cramped)
    process = start(cramped, tmp_path / "cramped.log")
    environment = {
        **own.environment(bucket="cramped"),
        "CONSUMER_STALL_TIMEOUT_S": str(STALL_TIMEOUT_S),
        "CONSUMER_CHECK_INTERVAL_S": str(CHECK_INTERVAL_S),
    }
    service = new_service(new_table(settings_of(environment)), environment, tmp_path, pocket_folder)
    try:
        service.start("api", "prepare", "generate", "keeper")
        service.wait_for_workers(prepare=2, generate=1, keeper=1)
        assert service.wait_for_end(service.submit(**SHORT))["status"] == "completed"
        waiting = waiting_bells(service) if server == "valkey" else []
        ballast = disk.fill()
        service.wait_until(lambda: status(service)[0] == 503, "a refusal", limit_s=20)
        if server == "valkey":
            service.resume("prepare")
            for name in ("prepare", "generate"):
                service.wait_until(lambda name=name: "MISCONF" in service.log(name), f"what {name} heard")
            # No worker can remove a wake-up from its list, and the watchdog must not restart any for that.
            time.sleep(STALL_TIMEOUT_S + 2 * CHECK_INTERVAL_S)
        accepted = [
            reply.json()["id"]
            for _ in range(5)
            if (reply := service.http.post("/v1/jobs", json=SHORT)).status_code == 202
        ]
        ballast.unlink()
        service.wait_until(lambda: status(service)[0] == 202, "room", limit_s=30)
        for job_id in [*waiting, *accepted, service.submit(**SHORT)]:
            assert service.wait_for_end(job_id)["status"] == "completed"
        for name in ("api", "prepare", "generate", "keeper"):
            assert service.processes[name].poll() is None, f"{name} lived through it"
        assert "crashed" not in service.log("api")
    finally:
        service.stop()
        stop(process)
        if server == "seaweedfs":
            own.seaweedfs.remove_sockets()
