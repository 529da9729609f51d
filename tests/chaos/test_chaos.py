"""Faults at random, chosen by one seed: every accepted job ends once, with the result that it has without faults.

CHAOS_SEED=7 CHAOS_JOBS=2000 CHAOS_FAULTS=100 python -m pytest tests/chaos -s
"""

import random
import threading
import time
from collections import Counter

import pytest

from testing.chaos import plan
from testing.chaos.assertions import check, run_reference_jobs, usage_of, wait_until_idle, wait_until_slots_are_free
from testing.chaos.fleet import Fleet
from testing.chaos.options import FAULTS, JOBS, SEED
from testing.chaos.workload import Kind, WebhookReceiver, Workload

IDLE_LIMIT_S = 150.0 + JOBS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + 60 * FAULTS + 5 * JOBS)]


def test_no_job_is_lost_or_ended_twice(fleet: Fleet, receiver: WebhookReceiver) -> None:
    print(f"\nCHAOS_SEED={SEED} CHAOS_JOBS={JOBS} CHAOS_FAULTS={FAULTS}")
    rng = random.Random(SEED)
    reference = run_reference_jobs(fleet)
    workload = Workload([fleet.service.url], receiver.url, SEED)
    submitting = threading.Thread(target=workload.submit_all, args=(JOBS,))
    started_at = time.monotonic()
    submitting.start()

    def admit(faults_left: int, kind: Kind | None) -> None:
        workload.admit((JOBS - workload.admitted) // faults_left, with_one=kind)

    injected = plan.inject_faults(fleet, FAULTS, rng, admit=admit)
    workload.admit(JOBS)
    submitting.join(timeout=600)
    wait_until_idle(fleet, workload, receiver, limit_s=IDLE_LIMIT_S)
    wait_until_slots_are_free(fleet)
    report = check(fleet, workload, receiver, [reference], injected)

    print(f"{len(workload.accepted)} jobs in {time.monotonic() - started_at:.0f} s: {dict(report.statuses)}; ", end="")
    print(f"{workload.refused} calls refused and repeated")
    print(f"{len(injected)} faults:\n{plan.summary(injected)}")
    print(f"lost {report.lost}, doubled {report.doubled}, slowest recovery {report.slowest_recovery_s:.1f} s; ", end="")
    print(f"{report.cut_streams} streams without their end")
    assert len(workload.accepted) == JOBS
    assert not report.wrong, "\n".join(report.wrong)
    assert (report.lost, report.doubled) == (0, 0)
    counted = usage_of(fleet) - Counter(job["status"] for job in reference.values())
    assert counted == report.statuses, "usage counts each job once"
