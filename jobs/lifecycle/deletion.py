"""Removing an ended job, wholly: its objects, then its record."""

from jobs.errors import NotEnded
from jobs.objects.store import ObjectStore, cancel_key, events_key, job_folder, request_key, result_key
from jobs.table.store import JobStore


def remove_job(store: JobStore, object_store: ObjectStore, job_id: str) -> None:
    """May be called again: what a first call left, a second one finds by the record, which goes last.

    Raises:
        NotEnded
        Unavailable: call it again.
    """
    job = store.get(job_id)
    if job is not None and not job.status.is_terminal:
        raise NotEnded
    object_store.remove_folder(f"{job_folder(job_id)}/")
    # The request before the result: a request without a result would look like a job that has to be run.
    for key in (events_key(job_id), request_key(job_id), cancel_key(job_id), result_key(job_id)):
        object_store.remove(key)
    if not store.delete(job_id):
        raise NotEnded
