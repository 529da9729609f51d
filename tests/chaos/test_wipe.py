"""Redis is emptied in the middle of the work, and recovered beside workers that live on."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs.blobs import result_key
from jobs.record import JobStatus
from jobs.result import JobResult
from tests.chaos.crowd import LONG, TEMPLATES, Crowd, Receiver
from tests.chaos.fleet import Fleet
from tests.chaos.verdict import await_quiet, judge, wait

JOBS = 24

pytestmark = pytest.mark.timeout(400)


def tombstones(fleet: Fleet) -> set[str]:
    keys = fleet.service.table.blobs.keys("deliveries/")
    return {key.removeprefix("deliveries/").removesuffix(".json") for key in keys}


def recover(fleet: Fleet) -> str:
    environment = {**fleet.service.environment, "PATH": str(Path(sys.executable).parent)}
    command = [sys.executable, "-m", "cli.main", "recover"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_after_a_wipe_in_the_middle_every_job_ends_once(fleet: Fleet, receiver: Receiver) -> None:
    reference = {
        number: fleet.service.await_end(fleet.service.post(**template), limit_s=120)
        for number, template in enumerate(TEMPLATES)
    }
    crowd = Crowd(fleet.service.url, receiver.url, 5)
    crowd.let_in(JOBS // 3)
    handing_in = threading.Thread(target=crowd.hand_in, args=(JOBS,))
    handing_in.start()
    fleet.service.wait(lambda: len(tombstones(fleet)) >= 3, "work that is done", 60)
    ids = [fleet.service.post(**TEMPLATES[LONG], callback={"url": receiver.url}) for _ in range(6)]
    crowd.accepted |= dict.fromkeys(ids, LONG)
    fleet.service.wait(lambda: fleet.service.job(ids[0])["status"] == "running", "work on its way", 60)
    crowd.let_in(JOBS // 3)
    told = tombstones(fleet)
    cancelled = {job_id for job_id, status in list(crowd.cancelled.items()) if status == "cancelled"}
    fleet.redis().flushall()
    before = {job_id: len(ids) for job_id, ids in receiver.ids.items()}
    fleet.service.wait(lambda: fleet.service.http.get("/readyz").status_code == 503, "a refusal")
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
    assert (verdict.lost, verdict.doubled, wrong) == (0, 0, [])
    for job_id in cancelled:
        assert JobResult.from_json(fleet.service.table.blobs.get(result_key(job_id))).status == JobStatus.CANCELLED
    for delivery in told:
        job_id = delivery.removeprefix("evt_").rpartition("_")[0]
        assert len(receiver.ids[job_id]) == before[job_id], f"{delivery} was sent anew"
