"""Everything goes wrong at once, by one seed; afterwards every accepted job has ended once, as it would have in peace.

CHAOS_SEED=7 CHAOS_JOBS=2000 CHAOS_FAULTS=100 python -m pytest tests/chaos -s
"""

import random
import threading
import time
from collections import Counter

import pytest

from testing.chaos import plan
from testing.chaos.assertions import await_quiet, judge, undisturbed, usage_of, wait
from testing.chaos.fleet import Fleet
from testing.chaos.options import FAULTS, JOBS, SEED
from testing.chaos.workload import Crowd, Kind, Receiver

QUIET_LIMIT_S = 150.0 + JOBS

pytestmark = pytest.mark.timeout(300 + 60 * FAULTS + 5 * JOBS)


def test_nothing_is_lost_and_nothing_happens_twice(fleet: Fleet, receiver: Receiver) -> None:
    print(f"\nCHAOS_SEED={SEED} CHAOS_JOBS={JOBS} CHAOS_FAULTS={FAULTS}")
    rng = random.Random(SEED)
    reference = undisturbed(fleet)
    crowd = Crowd(fleet.service.url, receiver.url, SEED)
    handing_in = threading.Thread(target=crowd.hand_in, args=(JOBS,))
    started_at = time.monotonic()
    handing_in.start()

    def let_in(faults_left: int, kind: Kind | None) -> None:
        crowd.let_in((JOBS - crowd.let) // faults_left, with_one=kind)

    happened = plan.cause(fleet, FAULTS, rng, let_in=let_in)
    crowd.let_in(JOBS)
    handing_in.join(timeout=600)
    await_quiet(fleet, crowd, receiver, limit_s=QUIET_LIMIT_S)
    wait(lambda: all(worker.free == worker.slots for worker in fleet.service.table.store.workers()), 20, str)
    verdict = judge(fleet, crowd, receiver, reference, happened)

    print(f"{len(crowd.accepted)} jobs in {time.monotonic() - started_at:.0f} s: {dict(verdict.statuses)}; ", end="")
    print(f"{crowd.refused} calls refused and repeated")
    print(f"{len(happened)} faults:\n{plan.counted(happened)}")
    print(
        f"lost {verdict.lost}, doubled {verdict.doubled}, slowest recovery {verdict.slowest_recovery_s:.1f} s; ", end=""
    )
    print(f"{verdict.cut_streams} streams without their tail")
    assert len(crowd.accepted) == JOBS
    assert not verdict.wrong, "\n".join(verdict.wrong)
    assert (verdict.lost, verdict.doubled) == (0, 0)
    counted = usage_of(fleet) - Counter(job["status"] for job in reference.values())
    assert counted == verdict.statuses, "usage counts each job once"
