"""Find a tenant's job."""

from jobs.errors import NotFound, StoreUnavailable
from jobs.model.job import Job
from jobs.table.store import JobStore


def find_job(store: JobStore, job_id: str, *, tenant: str) -> Job:
    """Return the record of a tenant's job.

    Raises:
        NotFound: there is no such job, or it belongs to another tenant; the error does not say which.
        StoreUnavailable: the job may exist, but the job table has not been reconciled after a restart of Redis.
    """
    job = store.get(job_id)
    if job is None:
        require_reconciled(store)
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
