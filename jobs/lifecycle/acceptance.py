"""Decides whether a job is accepted, so that a 202 and a 503 stay true whichever call was slow, lost or repeated.

The id of a job is new for each attempt to create it. Its attempt stores the request, with an Idempotency-Key also the
object that names the key's job, and creates the record. A job is accepted when its record exists; after a loss of
Redis, when its request exists and, with an Idempotency-Key, is the one that the key's object names.

An attempt that fails withdraws its job: it stores a marker in place of the result. Results are written once, so either
the job has ended and is accepted, or no result of it can appear: whoever finds the marker drops the job. Recovery,
workers and keepers all find it, because they read the result object before they make an end visible.

A repeat of the request may find a job while its first attempt withdraws it. ``decisions/<job>.json`` is written once,
by the one or the other, so that a job that a repeat was answered with is never withdrawn.
"""

from typing import Literal

import structlog

from jobs.errors import AcceptanceUnknown, JobWithdrawn, NotFound, NotInitialized, ObjectStoreUnavailable, Unavailable
from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import withdrawal_marker
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import CorruptDocument, encode_json, find_keyed_job, load_json, load_result
from jobs.objects.keys import decision_key, request_key, result_key
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore

log = structlog.get_logger(__name__)

Decision = Literal["accepted", "withdrawn"]


class Acceptance:
    """Confirms and withdraws jobs. Safe to share between threads."""

    def __init__(self, store: JobStore, object_store: ObjectStore) -> None:
        self._store = store
        self._object_store = object_store

    def is_accepted(self, request: JobRequest) -> bool:
        """Whether a stored request without a record belongs to an accepted job.

        Raises:
            ObjectStoreUnavailable
        """
        if request.key_object is None:
            return True
        try:
            keyed = find_keyed_job(self._object_store, request.key_object)
        except CorruptDocument as error:
            # A 202 may have been sent. The request of an attempt that did not get the key is deleted.
            log.error("idempotency.corrupt", job_id=request.id, detail=str(error))
            return True
        return keyed is not None and keyed.job_id == request.id

    def confirm(self, job_id: str) -> bool:
        """Make sure that a job which a repeat found is not withdrawn afterwards. False: it is withdrawn.

        Raises:
            ObjectStoreUnavailable
        """
        return self._decide(job_id, "accepted") == "accepted"

    def withdraw(self, job_id: str, *, is_shared: bool) -> bool:
        """Make sure that a job never becomes visible, because the client gets an error. May be repeated.

        Args:
            is_shared: a repeat of the same request may have found the job.

        Returns:
            False: the job is accepted; a repeat was answered with it, or it has ended.

        Raises:
            AcceptanceUnknown: the object store does not answer, and either Redis does not either, or the job is shared.
        """
        try:
            if is_shared and self._decide(job_id, "withdrawn") == "accepted":
                return False
            if not self._store_marker(job_id):
                return False
        except ObjectStoreUnavailable as error:
            if is_shared:
                raise AcceptanceUnknown from error
            return self.withdraw_unstored(job_id)
        try:
            self._object_store.delete(request_key(job_id))
            self._store.withdraw(job_id)
        except (Unavailable, NotInitialized) as error:
            # Whoever claims the job finds the marker.
            log.warning("job.withdrawal_incomplete", job_id=job_id, code=error.code)
        return True

    def withdraw_unstored(self, job_id: str) -> bool:
        """Withdraw a job that nobody else knows, because the object store did not answer: its request may arrive later.

        Redis refuses the record from now on, and a keeper stores the marker when the object store answers.

        Returns:
            False: the job has ended.

        Raises:
            AcceptanceUnknown: neither Redis nor the object store answers.
        """
        try:
            reply = self._store.withdraw(job_id)
            if reply == "ended":
                return False
            is_in_table = reply == "ok"
        except (Unavailable, NotInitialized):
            is_in_table = False
        try:
            # Also for the case that Redis loses its last second.
            return self._store_marker(job_id) or is_in_table
        except ObjectStoreUnavailable as error:
            if is_in_table:
                return True
            raise AcceptanceUnknown from error

    def discard(self, job_id: str) -> None:
        """Remove the rows of a job whose marker was found in place of its result."""
        self._store.withdraw(job_id)
        log.info("job.withdrawn", job_id=job_id)

    def _decide(self, job_id: str, decision: Decision) -> Decision:
        """Write a decision unless there is one. Return the one that is stored."""
        key = decision_key(job_id)
        if self._object_store.put_if_absent(key, encode_json({"v": 1, "decision": decision})):
            return decision
        try:
            stored = load_json(self._object_store, key)["decision"]
        except ObjectNotFound:
            return "accepted"  # the job has ended and was deleted; the decision of a withdrawn job stays
        except (CorruptDocument, KeyError) as error:
            log.error("decision.corrupt", job_id=job_id, detail=repr(error))
            return "accepted"  # if it was withdrawn, the marker in place of its result says so
        return "withdrawn" if stored == "withdrawn" else "accepted"

    def _store_marker(self, job_id: str) -> bool:
        """Store the marker in place of the result. False: the job has a result."""
        if self._object_store.put_if_absent(result_key(job_id), withdrawal_marker(job_id)):
            return True
        return is_withdrawn(self._object_store, job_id)


def is_withdrawn(object_store: ObjectStore, job_id: str) -> bool:
    """Whether a job has a marker in place of its result.

    Raises:
        ObjectStoreUnavailable
    """
    try:
        load_result(object_store, job_id)
    except JobWithdrawn:
        return True
    except (NotFound, CorruptDocument):
        return False
    return False
