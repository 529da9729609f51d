"""Measure how fast a cancelled job stops under load: from the call until the engine has stopped it.

    python -m bench.cancel [--jobs 60]

A generate worker has more jobs than slots; running jobs are cancelled one after the other at random moments. Reported
are the job's own ``stopped_after_ms``, and the time until the client's first poll that returns ``cancelled``. The
alternative is a worker that learns of it with its heartbeat: half the interval at the median, all of it at worst.
"""

import argparse
import random
import statistics
import time

from bench.endless import ENDLESS, endless_service
from testing.processes.service import Service

LOAD = 12
"""Jobs that run or wait at the same time."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=60)
    jobs = parser.parse_args().jobs
    with endless_service("api", "prepare", "generate", "keeper", prepare=1, generate=1, keeper=1) as service:
        report(service.table.settings.heartbeat_s, *measure(service, jobs))


def measure(service: Service, count: int) -> tuple[list[int], list[float], list[int]]:
    """Return stop times in ms, times until the client saw it in ms, and tokens generated until then."""
    stopped: list[int] = []
    seen: list[float] = []
    tokens: list[int] = []
    rng = random.Random(1)
    waiting = [post(service, rng) for _ in range(LOAD)]
    while len(stopped) < count:
        running = service.wait_until(lambda: [job for job in waiting if is_running(service, job)], "running job")
        job_id = rng.choice(running)
        time.sleep(rng.uniform(0, 0.3))
        called_at = time.monotonic()
        service.http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
        job = service.wait_for_end(job_id)
        seen.append((time.monotonic() - called_at) * 1000)
        waiting.remove(job_id)
        waiting.append(post(service, rng))
        if job["status"] == "cancelled":
            stopped.append(int(job["stopped_after_ms"]))
            tokens.append(int(job["tokens"]))
    for job_id in waiting:
        service.http.post(f"/v1/jobs/{job_id}/cancel")
    return stopped, seen, tokens


def post(service: Service, rng: random.Random) -> str:
    return service.submit(**{**ENDLESS, "sampling": {**ENDLESS["sampling"], "seed": rng.randrange(10**6)}})


def is_running(service: Service, job_id: str) -> bool:
    job = service.job(job_id)
    return bool(job["status"] == "running" and job["tokens"] > 0)


def report(heartbeat_s: float, stopped: list[int], seen: list[float], tokens: list[int]) -> None:
    print(f"{len(stopped)} running jobs cancelled, median {statistics.median(tokens):.0f} tokens generated")
    for name, values in (("engine stopped", stopped), ("seen by the client", seen)):
        p99 = statistics.quantiles(values, n=100, method="inclusive")[98]
        print(f"{name:24} {statistics.median(values):6.0f} ms p50, {p99:6.0f} ms p99")
    ratio = heartbeat_s * 500 / statistics.median(stopped)
    print(
        f"by arithmetic, with the heartbeat alone: {heartbeat_s * 500:.0f} ms at the median, {ratio:.1f} times as long"
    )


if __name__ == "__main__":
    main()
