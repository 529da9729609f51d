"""Deletes an ended job: its objects, then its record, then what was written meanwhile."""

from jobs.errors import NotEnded
from jobs.lifecycle.acceptance import is_withdrawn
from jobs.model.documents.result import withdrawal_marker
from jobs.objects import keys
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
    _delete_objects(object_store, job_id)
    _delete_late_objects(object_store, job_id)
    object_store.delete(keys.decision_key(job_id))
    object_store.delete(keys.result_key(job_id))
    if not store.delete(job_id):
        raise NotEnded
    # A keeper that had read the job before may have written these after they were deleted above. From here on it finds
    # that the job is removed, and deletes what it writes.
    _delete_late_objects(object_store, job_id)


def delete_withdrawn_job(object_store: ObjectStore, job_id: str) -> None:
    """Delete the objects of a job that was not accepted, except the decision and the marker in place of its result.

    These two stay until the bucket's lifecycle rules delete them: a delayed repeat must find them.

    Raises:
        Unavailable: call it again.
    """
    key = keys.result_key(job_id)
    marker = withdrawal_marker(job_id)
    if not object_store.put_if_absent(key, marker) and not is_withdrawn(object_store, job_id):
        object_store.put(key, marker, "application/json")  # the result of a job whose record Redis has already removed
    _delete_objects(object_store, job_id)
    _delete_late_objects(object_store, job_id)


def delete_late_objects(object_store: ObjectStore, job_id: str) -> None:
    """Delete what a process that was frozen wrote after the job was deleted or withdrawn."""
    _delete_objects(object_store, job_id)
    _delete_late_objects(object_store, job_id)
    if not is_withdrawn(object_store, job_id):
        object_store.delete(keys.decision_key(job_id))
        object_store.delete(keys.result_key(job_id))


def delete_if_removed(store: JobStore, object_store: ObjectStore, job_id: str, key: str) -> None:
    """Delete an object that was just written, if its job was deleted before."""
    if store.is_removed(job_id):
        object_store.delete(key)


def _delete_objects(object_store: ObjectStore, job_id: str) -> None:
    # The request before the result: a request without a result looks like a job that must run.
    object_store.delete(keys.request_key(job_id))
    object_store.delete_prefix(f"{keys.job_folder(job_id)}/")


def _delete_late_objects(object_store: ObjectStore, job_id: str) -> None:
    object_store.delete(keys.events_key(job_id))
    object_store.delete(keys.cancel_key(job_id))
    for prefix in keys.delivery_prefixes(job_id):
        object_store.delete_prefix(prefix)
