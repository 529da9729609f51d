from jobs.model.job import TERMINAL, TRANSITIONS, Job, JobStatus


def test_every_status_has_transitions_and_terminal_ones_have_none() -> None:
    assert set(TRANSITIONS) == set(JobStatus)
    assert {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED} == TERMINAL


def test_every_status_is_reachable_from_preparing() -> None:
    reached, frontier = {JobStatus.PREPARING}, {JobStatus.PREPARING}
    while frontier:
        frontier = {move for status in frontier for move in TRANSITIONS[status]} - reached
        reached |= frontier
    assert reached == set(JobStatus)


def test_a_record_has_defaults_for_missing_fields() -> None:
    fields = {
        "tenant": "t",
        "status": "running",
        "stage": "generate",
        "priority": "low",
        "attempt": "2",
        "created_ms": "17",
    }
    job = Job.from_hash("job_a", fields)
    assert (job.status, job.attempt, job.created_ms) == (JobStatus.RUNNING, 2, 17)
    assert (job.claim, job.lost_leases, job.cancel_requested, job.ended_ms) == ("", 0, False, 0)
