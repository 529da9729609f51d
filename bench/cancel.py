"""How soon does a cancelled job stop? Under load: from the call to where the engine has stopped, as the receipts say.

    python -m bench.cancel [--jobs 60]

A generate worker with more jobs than slots; running jobs are cancelled one after the other at random moments.
Beside each
receipt, what the client sees: from its call to the first poll that says ``cancelled``. The alternative is what a
worker that asks with its heartbeat, every three seconds, would need: half of that at the median, all of it at worst.
"""

import argparse
import random
import statistics
import time

from bench.endless import ENDLESS, endless_service
from testing.service import Service

LOAD = 12
"""Jobs that run or wait at any time."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=60)
    jobs = parser.parse_args().jobs
    with endless_service("api", "prepare", "generate", "keeper", prepare=2, generate=1, keeper=1) as service:
        report(service.table.settings.heartbeat_s, *measure(service, jobs))


def measure(service: Service, count: int) -> tuple[list[int], list[float], list[int]]:
    """Receipts in ms, what clients saw in ms, tokens made."""
    receipts, seen, tokens = [], [], []
    rng = random.Random(1)
    waiting = [post(service, rng) for _ in range(LOAD)]
    while len(receipts) < count:
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
            receipts.append(int(job["stopped_after_ms"]))
            tokens.append(int(job["tokens"]))
    for job_id in waiting:
        service.http.post(f"/v1/jobs/{job_id}/cancel")
    return receipts, seen, tokens


def post(service: Service, rng: random.Random) -> str:
    return service.submit(**{**ENDLESS, "sampling": {**ENDLESS["sampling"], "seed": rng.randrange(10**6)}})


def is_running(service: Service, job_id: str) -> bool:
    job = service.job(job_id)
    return job["status"] == "running" and job["tokens"] > 0


def report(heartbeat_s: float, receipts: list[int], seen: list[float], tokens: list[int]) -> None:
    print(f"{len(receipts)} running jobs cancelled, {statistics.median(tokens):.0f} tokens made at the median")
    for name, values in (("receipt: engine stopped", receipts), ("seen by the client", seen)):
        p99 = statistics.quantiles(values, n=100, method="inclusive")[98]
        print(f"{name:24} {statistics.median(values):6.0f} ms at the median, {p99:6.0f} ms p99")
    ratio = heartbeat_s * 500 / statistics.median(receipts)
    print(
        f"by arithmetic, with the heartbeat alone: {heartbeat_s * 500:.0f} ms at the median, {ratio:.1f} times as long"
    )


if __name__ == "__main__":
    main()
