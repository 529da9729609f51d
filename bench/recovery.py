"""How soon is the job of a dead worker in other hands? From the end of its lease to the loss, and to the next claim.

    python -m bench.recovery [--kills 20]

Two generate workers and a keeper; the one that runs a job is killed by SIGKILL, and the other one has room. All
moments are
of Redis' clock, read every 2 ms. The alternative is Celery's own: behind its visibility timeout, kombu's Redis
transport gives an unacknowledged message to the next worker when it next looks.
"""

import argparse
import os
import signal
import statistics
import time

import redis
from kombu.transport.redis import Channel

from bench.endless import ENDLESS, endless_service
from jobs.model.job import Stage
from jobs.table import keys
from jobs.table.scripts import connect
from testing.service import Service

LOOK_S = 0.002
WAIT_S = 60
"""After the end of the lease."""
BROKER_LOOKS_S = Channel.unacked_restore_interval * Channel.unacked_restore_throttle
"""At its defaults."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    kills = parser.parse_args().kills
    with endless_service(
        "api", "prepare", "generate", "generate2", "keeper", prepare=2, generate=2, keeper=1
    ) as service:
        report(service.table.settings.lease_s, [measure(service) for _ in range(kills)])


def measure(service: Service) -> tuple[int, int]:
    """Milliseconds from the lease's end to the loss, and to the next claim."""
    client, lease_s = connect(service.table.settings), service.table.settings.lease_s
    job_id = service.submit(**ENDLESS)
    job = keys.job(job_id)
    service.wait_until(lambda: service.job(job_id)["tokens"] > 0, "running job")
    pid = int(client.hget(job, "worker").split(":")[1])
    os.kill(pid, signal.SIGKILL)
    lease_ends = int(client.zscore(keys.leases(Stage.GENERATE), job_id))
    lost_at = await_change(client, job, "lost_leases", "0", lease_s=lease_s)
    claimed_at = await_change(client, job, "attempt", "1", lease_s=lease_s)
    service.http.post(f"/v1/jobs/{job_id}/cancel")
    service.wait_for_end(job_id)
    dead = next(name for name, process in service.processes.items() if process.pid == pid)
    service.processes.pop(dead).wait()
    service.start(dead)
    service.wait_for_workers(generate=2)
    return lost_at - lease_ends, claimed_at - lease_ends


def await_change(client: "redis.Redis", key: str, field: str, old: str, *, lease_s: float) -> int:
    """When it was seen to differ."""
    give_up = time.monotonic() + lease_s + WAIT_S
    while client.hget(key, field) == old:
        assert time.monotonic() < give_up, f"{key} still has {field} {old!r}"
        time.sleep(LOOK_S)
    seconds, micros = client.time()
    return int(seconds * 1000 + micros / 1000)


def report(lease_s: float, waits: list[tuple[int, int]]) -> None:
    print(f"{len(waits)} workers killed; behind the end of the lease, {lease_s:.0f} s behind its last beat:")
    for name, values in zip(("the job is taken back", "another worker has it"), zip(*waits, strict=True), strict=True):
        print(f"{name:22} {statistics.median(values):5.0f} ms at the median, {max(values):5.0f} ms at most")
    wait_s = statistics.median(wait for _, wait in waits) / 1000
    print(f"by arithmetic, looking every {BROKER_LOOKS_S} s: {BROKER_LOOKS_S / 2:.0f} s at the median, ", end="")
    print(f"{BROKER_LOOKS_S / 2 / wait_s:.0f} times as long")


if __name__ == "__main__":
    main()
