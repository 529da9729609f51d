"""Everything goes wrong at once, by one seed; afterwards every accepted job has ended once, as it would have in peace.

CHAOS_SEED=7 CHAOS_JOBS=2000 CHAOS_FAULTS=100 python -m pytest tests/chaos -s
"""

import os
import random
import threading
import time

import pytest

from tests.chaos import faults
from tests.chaos.crowd import TEMPLATES, Crowd, Receiver
from tests.chaos.fleet import Fleet
from tests.chaos.verdict import Reference, await_quiet, judge, usage_of, wait

SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
JOBS = int(os.environ.get("CHAOS_JOBS") or 40)
FAULTS = int(os.environ.get("CHAOS_FAULTS") or max(8, JOBS // 20))
QUIET_LIMIT_S = 150.0 + JOBS

pytestmark = pytest.mark.timeout(300 + 60 * FAULTS + 5 * JOBS)


def undisturbed(fleet: Fleet) -> Reference:
    ids = [fleet.service.post(**template) for template in TEMPLATES]
    jobs = {number: fleet.service.await_end(job_id, limit_s=120) for number, job_id in enumerate(ids)}
    assert {job["status"] for job in jobs.values()} == {"completed"}
    return jobs


def test_nothing_is_lost_and_nothing_happens_twice(fleet: Fleet, receiver: Receiver) -> None:
    print(f"\nCHAOS_SEED={SEED} CHAOS_JOBS={JOBS} CHAOS_FAULTS={FAULTS}")
    rng = random.Random(SEED)
    reference = undisturbed(fleet)
    crowd = Crowd(fleet.service.url, receiver.url, SEED)
    handing_in = threading.Thread(target=crowd.hand_in, args=(JOBS,))
    started_at = time.monotonic()
    handing_in.start()
    share = JOBS // FAULTS
    happened = faults.cause(fleet, faults.plan(rng, FAULTS), rng, before=lambda: crowd.let_in(share))
    crowd.let_in(JOBS)
    handing_in.join(timeout=600)
    await_quiet(fleet, crowd, receiver, limit_s=QUIET_LIMIT_S)
    wait(lambda: all(worker.free == worker.slots for worker in fleet.service.table.store.workers()), 20, str)
    verdict = judge(fleet, crowd, receiver, reference, happened)

    print(f"{len(crowd.accepted)} jobs in {time.monotonic() - started_at:.0f} s: {dict(verdict.statuses)}; ", end="")
    print(f"{crowd.refused} calls refused and repeated")
    print(f"{len(happened)} faults:\n{faults.counted(happened)}")
    print(
        f"lost {verdict.lost}, doubled {verdict.doubled}, slowest recovery {verdict.slowest_recovery_s:.1f} s; ", end=""
    )
    print(f"{verdict.cut_streams} streams without their tail")
    assert len(crowd.accepted) == JOBS
    assert not verdict.wrong, "\n".join(verdict.wrong)
    assert (verdict.lost, verdict.doubled) == (0, 0)
    counted = usage_of(fleet)
    counted["completed"] -= len(TEMPLATES)
    assert +counted == verdict.statuses, "usage counts each job once"
