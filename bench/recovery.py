"""Measure how fast another worker takes the job of a dead one, after its lease has expired.

    python -m bench.recovery [--kills 20]

There are two generate workers and a keeper. The worker that runs a job is killed with SIGKILL; the other has a free
slot. All times are from Redis' clock, read every 2 ms. The alternative is Celery's own mechanism: after the visibility
timeout, kombu's Redis transport redelivers an unacknowledged message at its next check.
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
from testing.processes.service import Service

POLL_S = 0.002
WAIT_S = 60
"""After the end of the lease."""
BROKER_CHECK_S = Channel.unacked_restore_interval * Channel.unacked_restore_throttle
"""With kombu's defaults."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    kills = parser.parse_args().kills
    with endless_service(
        "api", "prepare", "generate", "generate2", "keeper", prepare=1, generate=2, keeper=1
    ) as service:
        report(service.table.settings.lease_s, [measure(service) for _ in range(kills)])


def measure(service: Service) -> tuple[int, int]:
    """Return milliseconds from the end of the lease until the job is released, and until the next claim."""
    client, lease_s = connect(service.table.settings), service.table.settings.lease_s
    job_id = service.submit(**ENDLESS)
    job = keys.job(job_id)
    service.wait_until(lambda: service.job(job_id)["tokens"] > 0, "running job")
    worker = client.hget(job, "worker")
    assert isinstance(worker, str)
    pid = int(worker.split(":")[1])
    os.kill(pid, signal.SIGKILL)
    score = client.zscore(keys.leases(Stage.GENERATE), job_id)
    assert score is not None
    lease_ends = int(score)
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
    """Return the time in ms when the field no longer has its old value."""
    give_up = time.monotonic() + lease_s + WAIT_S
    while client.hget(key, field) == old:
        assert time.monotonic() < give_up, f"{key} still has {field} {old!r}"
        time.sleep(POLL_S)
    seconds, micros = client.time()
    return int(seconds * 1000 + micros / 1000)


def report(lease_s: float, waits: list[tuple[int, int]]) -> None:
    print(f"{len(waits)} workers killed; times after the lease expired, {lease_s:.0f} s after the last heartbeat:")
    for name, values in zip(("job released", "job claimed again"), zip(*waits, strict=True), strict=True):
        print(f"{name:22} {statistics.median(values):5.0f} ms median, {max(values):5.0f} ms maximum")
    wait_s = statistics.median(wait for _, wait in waits) / 1000
    print(f"calculated, with a check every {BROKER_CHECK_S} s: median {BROKER_CHECK_S / 2:.0f} s, ", end="")
    print(f"{BROKER_CHECK_S / 2 / wait_s:.0f} times as long")


if __name__ == "__main__":
    main()
