"""Find a tenant's job."""

import re

from jobs.errors import NotFound, StoreUnavailable
from jobs.lifecycle.end.ended_jobs import EndedJobReader
from jobs.model.job import Job
from jobs.table.store import JobStore

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The form of job ids. Other text must not become a part of a Redis key."""


def find_job(store: JobStore, job_id: str, *, tenant: str, ended_jobs: EndedJobReader) -> Job:
    """Return the record of a tenant's job, also when the job has ended and has left Redis.

    Args:
        ended_jobs: finds ended jobs that have left Redis.

    Raises:
        NotFound: there is no such job, or it belongs to another tenant; the error does not say which.
        StoreUnavailable: the job may exist, but the job table has not been reconciled after a restart of Redis.
    """
    if not ID.fullmatch(job_id):
        raise NotFound
    job = store.get(job_id)
    if job is None:
        require_reconciled(store)
        job = ended_jobs.find(job_id, tenant=tenant)
    if job is None or job.tenant != tenant:
        raise NotFound
    return job


def require_reconciled(store: JobStore) -> None:
    """Check that a job without a record does not exist.

    Raises:
        StoreUnavailable: it may exist, because the job table has not been reconciled after a restart of Redis.
    """
    if not store.integrity.is_reconciled():
        raise StoreUnavailable("The job table is being recovered; try again shortly.")
