"""Redis without memory, servers on a full disk: jobs are refused, accepted ones end, and intake resumes with room."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cli.local.servers import Server
from jobs.model.job import Stage
from jobs.table.scripts import connect
from testing.inputs.request_bodies import SHORT_JOB
from testing.processes.requirements import missing
from testing.processes.servers import Servers, free_ports, settings_of, short_times, start, stop
from testing.processes.service import Service, new_service
from testing.table import new_table

STALL_TIMEOUT_S, CHECK_INTERVAL_S = 8.0, 0.5


def status(service: Service) -> tuple[int, str]:
    reply = service.http.post("/v1/jobs", json=SHORT_JOB)
    return reply.status_code, reply.json().get("code", "")


def test_redis_without_memory_refuses_jobs_and_runs_the_accepted_ones(isolated_service: Service) -> None:
    isolated_service.start_all()
    redis = connect(isolated_service.table.settings)
    limit = int(redis.config_get("maxmemory")["maxmemory"] or 0)
    ids = [isolated_service.submit(**SHORT_JOB) for _ in range(6)]
    try:
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) // 2)
        isolated_service.wait_until(lambda: status(isolated_service) == (429, "queue_full"), "jobs are refused")
        for job_id in ids:
            assert isolated_service.wait_for_end(job_id)["status"] == "completed"
    finally:
        redis.config_set("maxmemory", limit)
    assert isolated_service.wait_for_end(isolated_service.submit(**SHORT_JOB))["status"] == "completed"
    for name in ("prepare", "generate", "keeper"):
        assert isolated_service.processes[name].poll() is None, f"{name} has ended"


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
        """Write a file until the disk is full; returns its path."""
        filler = self.folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        return filler

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk", mb=64)
    disk.mount()
    yield disk
    disk.unmount()


def leave_wakeups_waiting(service: Service) -> list[str]:
    """Suspend the prepare worker and submit jobs; returns their ids."""
    service.suspend("prepare")
    job_ids = [service.submit(**SHORT_JOB) for _ in range(3)]
    service.wait_until(lambda: service.table.store.pending_wakeups(Stage.PREPARE), "wake-ups wait")
    return job_ids


def wait_past_stall_timeout(service: Service, name: str) -> None:
    """Wait until a worker still fails with MISCONF, the error of a Redis that cannot write, after the stall timeout."""
    errors = service.log(name).count("MISCONF")
    checked_at = time.monotonic() + STALL_TIMEOUT_S + 2 * CHECK_INTERVAL_S

    def has_failed() -> bool:
        return time.monotonic() > checked_at and service.log(name).count("MISCONF") > errors

    service.wait_until(has_failed, f"{name} meets a full disk for longer than the stall timeout")


@pytest.mark.slow
@pytest.mark.parametrize("server", ["valkey", "seaweedfs"])
def test_a_full_disk_refuses_jobs_with_503_until_there_is_room(
    servers: Servers, disk: SmallDisk, pocket_folder: Path, tmp_path: Path, server: str
) -> None:
    on_disk: Server
    if server == "valkey":
        on_disk = replace(servers.valkey, folder=disk.folder / "valkey", port=free_ports())
        own = replace(servers, valkey=on_disk)
    else:
        on_disk = replace(servers.seaweedfs, folder=disk.folder / "seaweedfs", port=free_ports(5))
        own = replace(servers, seaweedfs=on_disk)
    process = start(on_disk, tmp_path / "server.log")
    environment = {
        **own.environment(bucket="small-disk"),
        **short_times(),
        "CONSUMER_STALL_TIMEOUT_S": str(STALL_TIMEOUT_S),
        "CONSUMER_CHECK_INTERVAL_S": str(CHECK_INTERVAL_S),
    }
    service = new_service(new_table(settings_of(environment)), environment, tmp_path, pocket_folder)
    try:
        service.start_all()
        assert service.wait_for_end(service.submit(**SHORT_JOB))["status"] == "completed"
        waiting = leave_wakeups_waiting(service) if server == "valkey" else []
        filler = disk.fill()
        service.wait_until(lambda: status(service)[0] == 503, "jobs are refused")
        if server == "valkey":
            service.resume("prepare")
            # No worker can remove a wake-up from its list, and the watchdog must not restart any for that.
            for name in ("prepare", "generate"):
                wait_past_stall_timeout(service, name)
        accepted = [
            reply.json()["id"]
            for _ in range(5)
            if (reply := service.http.post("/v1/jobs", json=SHORT_JOB)).status_code == 202
        ]
        filler.unlink()
        if server == "seaweedfs":
            # After a write that failed, part of its metadata store refuses writes until a restart (docs/failures.md).
            stop(process)
            process = start(on_disk, tmp_path / "server.log")
        service.wait_until(lambda: status(service)[0] == 202, "jobs are accepted")
        for job_id in [*waiting, *accepted, service.submit(**SHORT_JOB)]:
            assert service.wait_for_end(job_id)["status"] == "completed"
        for name in ("api", "prepare", "generate", "keeper"):
            assert service.processes[name].poll() is None, f"{name} has ended"
        assert "crashed" not in service.log("api")
    finally:
        service.stop()
        stop(process)
        if server == "seaweedfs":
            own.seaweedfs.remove_sockets()
