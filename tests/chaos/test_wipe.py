"""Redis is emptied while jobs run, and the job table is recovered while the workers continue."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs.model.documents.result import JobResult
from jobs.model.job import JobStatus
from jobs.objects.keys import result_key
from testing.chaos.assertions import check, run_reference_jobs, wait_until_idle, wait_until_slots_are_free
from testing.chaos.fleet import GENERATORS, Fleet
from testing.chaos.options import SEED
from testing.chaos.workload import LONG, TEMPLATES, WebhookReceiver, Workload

JOBS = 24

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def tombstones(fleet: Fleet) -> set[str]:
    keys = fleet.service.table.object_store.list_keys("deliveries/")
    return {key.removeprefix("deliveries/").removesuffix(".json") for key in keys}


def recover(fleet: Fleet) -> str:
    environment = {**fleet.service.environment, "PATH": str(Path(sys.executable).parent)}
    command = [sys.executable, "-m", "cli.main", "recover"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_job_ends_once_after_redis_was_emptied(fleet: Fleet, receiver: WebhookReceiver) -> None:
    print(f"\nCHAOS_SEED={SEED}, Redis emptied")
    reference = run_reference_jobs(fleet)
    workload = Workload([fleet.service.url], receiver.url, SEED)
    workload.admit(JOBS // 3)
    submitting = threading.Thread(target=workload.submit_all, args=(JOBS,))
    submitting.start()
    fleet.service.wait_until(lambda: len(tombstones(fleet)) >= 3, "three delivered webhooks", 60)
    hook = {"url": receiver.url, "events": ["job.completed", "job.cancelled"]}
    ids = [fleet.service.submit(**TEMPLATES[LONG], callback=hook) for _ in range(6)]
    workload.accepted |= dict.fromkeys(ids, LONG)
    fleet.service.wait_until(lambda: fleet.service.job(ids[0])["status"] == "running", "a running job", 60)
    workload.admit(JOBS // 3)
    # No worker sees these cancels before Redis is emptied: only the object store has them.
    for name in GENERATORS:
        fleet.suspend(name)
    for job_id in [job_id for job_id in ids if fleet.service.job(job_id)["status"] == "running"][:2]:
        workload.cancelled[job_id] = fleet.service.http.post(f"/v1/jobs/{job_id}/cancel").json()["status"]
    cancelled = {
        job_id for job_id in list(workload.cancelled) if fleet.service.table.object_store.is_empty(result_key(job_id))
    }
    assert cancelled & set(ids), "no job was still running"
    delivered = tombstones(fleet)
    fleet.redis().flushall()
    before = {job_id: len(ids) for job_id, ids in receiver.ids.items()}
    for name in GENERATORS:
        fleet.resume(name)
    fleet.service.wait_until(lambda: fleet.service.http.get("/healthz").status_code == 503, "the service refuses jobs")
    time.sleep(3)  # workers meet the empty table
    summary = recover(fleet)
    workload.admit(JOBS)
    submitting.join(timeout=200)
    wait_until_idle(fleet, workload, receiver, limit_s=150)

    wait_until_slots_are_free(fleet)
    report = check(fleet, workload, receiver, [reference], [])
    # The streams were lost with the table; a stream that was cut says that it restarted.
    wrong = [line for line in report.wrong if "streamed" not in line]
    print(f"{len(workload.accepted)} jobs: {dict(report.statuses)}; ", end="")
    print(f"{len(cancelled)} cancels and {len(delivered)} deliveries survived; {summary.strip()}")
    assert (report.lost, report.doubled, wrong) == (0, 0, [])
    for job_id in cancelled:
        assert (
            JobResult.from_json(fleet.service.table.object_store.get(result_key(job_id))).status == JobStatus.CANCELLED
        )
    for delivery in delivered:
        job_id = delivery.removeprefix("evt_").rpartition("_")[0]
        assert len(receiver.ids[job_id]) == before[job_id], f"{delivery} was sent again"
