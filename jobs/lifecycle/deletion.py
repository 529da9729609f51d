"""Deletes an ended job: its objects, then its record."""

from jobs.errors import NotEnded
from jobs.objects.keys import cancel_key, events_key, job_folder, request_key, result_key
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore


def delete_job(store: JobStore, object_store: ObjectStore, job_id: str) -> None:
    """Delete everything that belongs to an ended job.

    May be repeated after an error: the record is deleted last, so the job can still be found.

    Raises:
        NotEnded
        Unavailable: some of it may be deleted; call it again.
    """
    job = store.get(job_id)
    if job is not None and not job.status.is_terminal:
        raise NotEnded
    object_store.delete_prefix(f"{job_folder(job_id)}/")
    # The request before the result: a request without a result looks like a job that must run.
    for key in (events_key(job_id), request_key(job_id), cancel_key(job_id), result_key(job_id)):
        object_store.delete(key)
    if not store.delete(job_id):
        raise NotEnded
