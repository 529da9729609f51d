"""Redis is emptied in the middle of the work, and recovered beside workers that live on."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs.model.job import JobStatus
from jobs.model.result import JobResult
from jobs.objects.keys import result_key
from testing.chaos.assertions import await_quiet, judge, undisturbed, wait
from testing.chaos.fleet import GENERATORS, Fleet
from testing.chaos.options import SEED
from testing.chaos.workload import LONG, TEMPLATES, Crowd, Receiver

JOBS = 24

pytestmark = pytest.mark.timeout(400)


def tombstones(fleet: Fleet) -> set[str]:
    keys = fleet.service.table.object_store.list_keys("deliveries/")
    return {key.removeprefix("deliveries/").removesuffix(".json") for key in keys}


def recover(fleet: Fleet) -> str:
    environment = {**fleet.service.environment, "PATH": str(Path(sys.executable).parent)}
    command = [sys.executable, "-m", "cli.main", "recover"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_after_a_wipe_in_the_middle_every_job_ends_once(fleet: Fleet, receiver: Receiver) -> None:
    print(f"\nCHAOS_SEED={SEED}, Redis wiped")
    reference = undisturbed(fleet)
    crowd = Crowd(fleet.service.url, receiver.url, SEED)
    crowd.let_in(JOBS // 3)
    handing_in = threading.Thread(target=crowd.hand_in, args=(JOBS,))
    handing_in.start()
    fleet.service.wait_until(lambda: len(tombstones(fleet)) >= 3, "work that is done", 60)
    hook = {"url": receiver.url, "events": ["job.completed", "job.cancelled"]}
    ids = [fleet.service.submit(**TEMPLATES[LONG], callback=hook) for _ in range(6)]
    crowd.accepted |= dict.fromkeys(ids, LONG)
    fleet.service.wait_until(lambda: fleet.service.job(ids[0])["status"] == "running", "work on its way", 60)
    crowd.let_in(JOBS // 3)
    # A cancel that Redis alone was told of would be forgotten with it: no worker hears of these before the wipe.
    for name in GENERATORS:
        fleet.suspend(name)
    for job_id in [job_id for job_id in ids if fleet.service.job(job_id)["status"] == "running"][:2]:
        crowd.cancelled[job_id] = fleet.service.http.post(f"/v1/jobs/{job_id}/cancel").json()["status"]
    wished = {
        job_id for job_id in list(crowd.cancelled) if fleet.service.table.object_store.is_empty(result_key(job_id))
    }
    assert wished & set(ids), "it was too late: nothing was running"
    told = tombstones(fleet)
    fleet.redis().flushall()
    before = {job_id: len(ids) for job_id, ids in receiver.ids.items()}
    for name in GENERATORS:
        fleet.resume(name)
    fleet.service.wait_until(lambda: fleet.service.http.get("/readyz").status_code == 503, "a refusal")
    time.sleep(3)
    report = recover(fleet)
    assert " 0 jobs wait" not in report, "it was too late: nothing was on its way"
    crowd.let_in(JOBS)
    handing_in.join(timeout=200)
    await_quiet(fleet, crowd, receiver, limit_s=150)

    wait(lambda: all(worker.free == worker.slots for worker in fleet.service.table.store.workers()), 20, str)
    verdict = judge(fleet, crowd, receiver, reference, [])
    # What a lost table had streamed is gone with it; a stream that was cut says that it started anew.
    wrong = [line for line in verdict.wrong if "streamed" not in line]
    print(f"{len(crowd.accepted)} jobs: {dict(verdict.statuses)}; ", end="")
    print(f"{len(wished)} cancels and {len(told)} deliveries outlived it; {report.strip()}")
    assert (verdict.lost, verdict.doubled, wrong) == (0, 0, [])
    for job_id in wished:
        assert (
            JobResult.from_json(fleet.service.table.object_store.get(result_key(job_id))).status == JobStatus.CANCELLED
        )
    for delivery in told:
        job_id = delivery.removeprefix("evt_").rpartition("_")[0]
        assert len(receiver.ids[job_id]) == before[job_id], f"{delivery} was sent anew"
