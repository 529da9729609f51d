"""Every script makes only the transitions between statuses that jobs/model/job.py lists, and together they make all."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from jobs.errors import Cancelled, ClaimLost, NotFound, ObjectStoreUnavailable
from jobs.model.documents.result import JobResult
from jobs.model.events import Event
from jobs.model.job import TERMINAL, TRANSITIONS, Job, JobStatus, Stage, new_claim
from jobs.table.types import WorkerStatus
from testing.table import Table

Step = Callable[[Table, Job], object]


def end(status: JobStatus, table: Table, job: Job) -> None:
    """End a job as its worker does."""
    table.finalizer.finalize(JobResult.without_output(job, status, "code", "", claim=job.claim), expect="owner")


def end_completed(table: Table, job: Job) -> None:
    if job.stage == Stage.GENERATE:  # no prepare worker completes a job
        end(JobStatus.COMPLETED, table, job)


def end_orphan(status: JobStatus, expect: str, table: Table, job: Job) -> None:
    """End a job as a keeper does."""
    table.finalizer.finalize_orphan(job, status, "code", "", expect=expect)  # type: ignore[arg-type]


def waiting(table: Table, job_id: str) -> None:
    table.accept(job_id)


def claimed(table: Table, job_id: str) -> None:
    table.accept(job_id)
    table.claim(Stage.PREPARE)


def queued(table: Table, job_id: str) -> None:
    table.queued(job_id)


def running(table: Table, job_id: str) -> None:
    table.running(job_id)


def lost(table: Table, job_id: str) -> None:
    running(table, job_id)
    table.expire_lease(job_id)


def sealed(table: Table, job_id: str) -> None:
    job = table.running(job_id)
    table.store.seal(job_id, sealer=job.claim, status=JobStatus.FAILED, error="code", expect="owner")


def cancel_requested(table: Table, job_id: str) -> None:
    running(table, job_id)
    table.store.cancel(job_id)


def ended(status: JobStatus, table: Table, job_id: str) -> None:
    end(status, table, table.running(job_id))


def expired(table: Table, job_id: str) -> None:
    table.accept(job_id)
    job = table.store.get(job_id)
    assert job is not None
    end_orphan(JobStatus.EXPIRED, "unclaimed", table, job)


STATES: dict[str, Callable[[Table, str], None]] = {
    "waiting": waiting,
    "claimed": claimed,
    "queued": queued,
    "running": running,
    "lost": lost,
    "sealed": sealed,
    "cancel requested": cancel_requested,
    "completed": partial(ended, JobStatus.COMPLETED),
    "failed": partial(ended, JobStatus.FAILED),
    "cancelled": partial(ended, JobStatus.CANCELLED),
    "expired": expired,
}

STEPS: dict[str, Step] = {
    "accept": lambda table, job: table.accept(job.id),
    "restore": lambda table, job: table.store.restore(job.id, {"tenant": "t", "status": "preparing"}),
    "claim to prepare": lambda table, _: table.claim(Stage.PREPARE),
    "claim to generate": lambda table, _: table.claim(Stage.GENERATE),
    "mark prepared": lambda table, job: table.store.mark_prepared(job.id, job.claim, folder="new", required_tokens=5),
    "heartbeat": lambda table, job: table.store.heartbeat(
        WorkerStatus("w", job.stage, "ready", 1, 0), {job.id: job.claim}
    ),
    "append": lambda table, job: table.store.append(job.id, job.claim, [Event(1, "started", {})], tokens=1),
    "report progress": lambda table, job: table.store.report_progress(job.id, job.claim, done=1, total=2),
    "release after an error": lambda table, job: table.store.release(job.id, job.claim, cause="error"),
    "release": lambda table, job: table.store.release(job.id, job.claim),
    "release as a loss": lambda table, job: table.store.release(job.id, job.claim, cause="loss"),
    "requeue": lambda table, job: table.maintenance.requeue(job),
    "cancel": lambda table, job: table.finalizer.cancel(job),
    "complete": end_completed,
    "fail": partial(end, JobStatus.FAILED),
    "end as cancelled": partial(end, JobStatus.CANCELLED),
    "expire": partial(end_orphan, JobStatus.EXPIRED, "unclaimed"),
    "fail without a worker": partial(end_orphan, JobStatus.FAILED, "unclaimed"),
    "give up": partial(end_orphan, JobStatus.FAILED, "expired"),
    "delete": lambda table, job: table.store.delete(job.id),
}


def test_each_script_makes_only_the_listed_transitions_and_together_they_make_all(table: Table) -> None:
    seen: set[tuple[JobStatus, JobStatus]] = set()
    for state, prepare in STATES.items():
        for name, step in STEPS.items():
            job_id = f"job_{state}_{name}".replace(" ", "_")
            prepare(table, job_id)
            before = table.store.get(job_id)
            assert before is not None
            with suppress(ClaimLost, Cancelled, NotFound, ObjectStoreUnavailable):
                step(table, before)
            after = table.store.get(job_id)
            if after is None:
                assert (name, before.status in TERMINAL) == ("delete", True), (
                    f"{name}: the record of a {state} job is gone"
                )
            elif after.status != before.status:
                seen.add((before.status, after.status))
                assert after.status in TRANSITIONS[before.status], f"{name}: a {state} job is {after.status}"
            remove(table, job_id)
    assert seen == {(before, after) for before, following in TRANSITIONS.items() for after in following}


def test_a_job_that_ended_keeps_its_status_whatever_is_called(table: Table) -> None:
    for status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED):
        job = table.running(f"job_{status}")
        end(status, table, job)
        for name, step in STEPS.items():
            if name != "delete":
                with suppress(ClaimLost, Cancelled):
                    step(table, job)
                assert table.status(job.id) == status, name


def remove(table: Table, job_id: str) -> None:
    """Remove a job, so that the next claim finds the next one."""
    table.store.withdraw(job_id)
    assert table.claim(Stage.PREPARE, new_claim()) is table.claim(Stage.GENERATE, new_claim()) is None
