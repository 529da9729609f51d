"""Measure how long `thinkqueue recover` takes to rebuild the job table from the object store.

    python -m bench.recover [--jobs 100000] [--waiting 0.1]

Most of the jobs have ended, with a result, an archived event stream and a delivered webhook; the others wait. Redis is
emptied, then `thinkqueue recover` runs twice: without a table, and beside a complete one, as the keeper does after each
restart of Redis. Both are processes of their own, so the times include their start.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from ulid import ULID

from jobs.model.documents.request import Callback, JobRequest
from jobs.model.documents.result import JobResult
from jobs.model.job import JobStatus
from jobs.model.times import now
from jobs.objects.documents import encode_json
from jobs.objects.keys import events_key, request_key, result_key, tombstone_key
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from runtime.settings import Settings
from testing.processes.servers import settings_of
from testing.processes.service import standalone_service

PROCESSES = os.cpu_count() or 1
THREADS = 8
CHUNK = 500
TENANTS = 100
STORE_TIMEOUT_S = 120.0
"""For a machine that other work uses as well."""
TEXT = "Which quarter fell, and by how much? " * 20
EVENTS = b'[1, "started", "{}"]\n[2, "ended", "{}"]\n'


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--waiting", type=float, default=0.1, help="share of jobs that have not ended")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, standalone_service(Path(folder), "pocket") as service:
        settings = service.table.settings
        began = time.monotonic()
        store_jobs(service.environment, options.jobs, round(options.jobs * options.waiting))
        print(f"{options.jobs:,} jobs stored in {time.monotonic() - began:.0f} s", flush=True)
        connect(settings).flushall()
        report("empty table", options.jobs, service.environment)
        memory = connect(settings).info("memory")["used_memory"]
        print(f"records in Redis: {connect(settings).dbsize():,} keys, {memory / 2**20:,.0f} MiB", flush=True)
        report("complete table", options.jobs, service.environment)


def store_jobs(environment: dict[str, str], jobs: int, waiting: int) -> None:
    """Store the objects of jobs; the first ``waiting`` ones have not ended."""
    chunks = [range(start, min(start + CHUNK, jobs)) for start in range(0, jobs, CHUNK)]
    with ProcessPoolExecutor(PROCESSES) as pool:
        list(pool.map(partial(store_chunk, environment, waiting), chunks))


def store_chunk(environment: dict[str, str], waiting: int, numbers: Sequence[int]) -> None:
    settings = settings_of(environment)
    object_store = ObjectStore(settings, timeout_s=STORE_TIMEOUT_S)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda number: store_job(object_store, settings, number, has_ended=number >= waiting), numbers))


def store_job(object_store: ObjectStore, settings: Settings, number: int, *, has_ended: bool) -> None:
    job_id = f"job_{ULID()}"
    request = JobRequest(
        id=job_id,
        tenant=f"tenant-{number % TENANTS}",
        priority="default",
        created_ms=time.time_ns() // 1_000_000,
        expires_ms=settings.job_expires_s * 1000,
        fingerprint="0" * 64,
        messages=[{"role": "user", "content": [{"type": "text", "text": TEXT}]}],
        thinking_budget=256,
        max_answer_tokens=256,
        sampling={},
        seed=number,
        callback=Callback("https://example.com/hook", ("completed", "failed")),
        metadata={"order": f"A-{number}"},
    )
    object_store.put(request_key(job_id), request.to_json())
    if has_ended:
        output = {"thinking": TEXT, "answer": TEXT, "boxes": [], "raw": TEXT}
        result = JobResult(job_id, JobStatus.COMPLETED, 1, "claim", output=output, usage={"answer_tokens": 200})
        attempt = {"at": now(), "status": 204, "error": None, "latency_ms": 20, "reply": ""}
        object_store.put(events_key(job_id), EVENTS)
        tombstone = {"state": "delivered", "attempts": [attempt]}
        object_store.put(tombstone_key(f"evt_{job_id}_completed"), encode_json(tombstone))
        object_store.put(result_key(job_id), result.to_json())


def report(what: str, jobs: int, environment: dict[str, str]) -> None:
    """Run the command and print its time."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "recover"],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - began
    print(
        f"recover, {what}: {seconds:.0f} s, {jobs / seconds:,.0f} jobs/s: {' '.join(done.stdout.split())}", flush=True
    )


if __name__ == "__main__":
    main()
