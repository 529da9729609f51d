"""Creates the job of a stored request, or finds the job that an earlier attempt of the same request created.

``jobs/lifecycle/acceptance.py`` says when a job is accepted. Every job has a new id, also if its Idempotency-Key was
used before, so nothing that belongs to one job can be mistaken for something of another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from jobs.errors import (
    IdempotencyConflict,
    JobWithdrawn,
    NotFound,
    NotInitialized,
    ObjectStoreNotCalled,
    ObjectStoreUnavailable,
    PresignedUrlExpired,
    StoreUnavailable,
    Unavailable,
)
from jobs.lifecycle.acceptance import Acceptance, is_withdrawn
from jobs.lifecycle.end.ended_jobs import EndedJobReader
from jobs.lifecycle.lookup import require_reconciled
from jobs.lifecycle.restored_fields import waiting_fields
from jobs.model.documents.idempotency import KeyedJob
from jobs.model.documents.request import JobRequest
from jobs.model.job import Job
from jobs.objects.documents import CorruptDocument, find_keyed_job, load_request, load_result
from jobs.objects.keys import job_folder, request_key
from jobs.objects.store import ObjectStore
from jobs.table.reports.listing import JobIndex
from jobs.table.store import JobStore
from jobs.table.types import AcceptResult

log = structlog.get_logger(__name__)

REQUEST_PUT_LIFETIME = timedelta(seconds=2)
"""The store refuses the PUT of a request that reaches it later, when the client has its error."""

CreateRecord = Callable[[JobRequest], AcceptResult]


@dataclass(frozen=True)
class AcceptedJob:
    """A job that is durable, and its request."""

    job: Job
    request: JobRequest
    is_replay: bool
    """The job already existed: the request is a repeat."""
    position: int | None
    """Number of jobs served before it within its priority; None when it does not wait."""


class JobCreator:
    """Creates jobs and finds earlier ones. Every method raises StoreUnavailable and ObjectStoreUnavailable."""

    def __init__(
        self,
        store: JobStore,
        index: JobIndex,
        object_store: ObjectStore,
        ended_jobs: EndedJobReader,
        *,
        create_record: CreateRecord,
    ) -> None:
        self._store = store
        self._index = index
        self._object_store = object_store
        self._ended_jobs = ended_jobs
        self._create_record = create_record
        self._acceptance = Acceptance(store, object_store)

    def create(self, request: JobRequest, *, is_remembered: bool = False) -> AcceptedJob | None:
        """Store a request and create its job.

        Args:
            is_remembered: a repeat without an Idempotency-Key can find the job.

        Returns:
            None: another attempt with the same Idempotency-Key was faster.

        Raises:
            ThinkqueueError: nothing was accepted.
            AcceptanceUnknown: the job may be accepted.
        """
        try:
            self._store_request(request)
        except ObjectStoreNotCalled:
            raise
        except Exception:
            if self._acceptance.withdraw_unstored(request.id):
                raise
            return self._accepted_all_the_same(request)
        try:
            if request.key_object is not None and not self._assign_key(request, request.key_object):
                self._delete_unused(request)
                return None
            created = self._create_record(request)
        except Exception:
            is_shared = is_remembered or request.key_object is not None
            if self._acceptance.withdraw(request.id, is_shared=is_shared):
                raise
            return self._accepted_all_the_same(request)
        log.info("job.accepted", job_id=request.id, tenant=request.tenant, priority=request.priority)
        return AcceptedJob(created.job, request, is_replay=False, position=created.position)

    def find_earlier(
        self, job_id: str, *, tenant: str, fingerprint: str, earlier_fingerprint: str
    ) -> AcceptedJob | None:
        """Return the job of an earlier attempt. If that attempt stored its request and then died, create the record.

        Args:
            tenant: of both requests.
            fingerprint: of this request's body.
            earlier_fingerprint: of the earlier one's.

        Returns:
            None: the earlier attempt failed, and its job was withdrawn.

        Raises:
            IdempotencyConflict: the earlier request has another body, or its job was deleted or has expired.
            StoreUnavailable: also while the job may exist and the job table is being recovered.
        """
        try:
            return self._find_earlier(job_id, tenant, fingerprint, earlier_fingerprint)
        except JobWithdrawn:
            return None

    def replace_attempt(self, job_id: str) -> bool:
        """Make sure that an attempt which has not created its record yet cannot do so later. False: it has a record."""
        require_reconciled(self._store)
        reply = self._store.withdraw(job_id, only_without_record=True)
        if reply == "full":
            raise StoreUnavailable("Too many jobs of failed requests wait to be deleted; try again shortly.")
        return reply == "ok"

    def _store_request(self, request: JobRequest) -> None:
        key, data = request_key(request.id), request.to_json()
        try:
            self._object_store.put_if_absent(key, data, lifetime=REQUEST_PUT_LIFETIME)
        except PresignedUrlExpired:  # the store's clock is ahead of this one
            self._object_store.put_if_absent(key, data)

    def _accepted_all_the_same(self, request: JobRequest) -> AcceptedJob:
        """Return a job that cannot be withdrawn: a repeat was answered with it, or it has ended.

        While Redis does not answer, its record is that of a new job.
        """
        try:
            job = self._store.get(request.id)
        except (Unavailable, NotInitialized):
            job = None
        if job is None:
            fields = waiting_fields(request, None, request.created_ms)
            job = Job.from_hash(request.id, {name: str(value) for name, value in fields.items()})
        return AcceptedJob(job, request, is_replay=False, position=None)

    def _find_earlier(self, job_id: str, tenant: str, fingerprint: str, earlier_fingerprint: str) -> AcceptedJob:
        """As ``find_earlier``, but raises JobWithdrawn."""
        job = self._store.get(job_id)
        if job is None:
            require_reconciled(self._store)
            job = self._ended_jobs.find(job_id, tenant=tenant)
        if job is None:
            self._check_has_not_ended(job_id)
        request = self._load_request(job_id)
        if earlier_fingerprint != fingerprint:
            if is_withdrawn(self._object_store, job_id):
                raise JobWithdrawn
            raise IdempotencyConflict
        if job is None:
            created = self._create_record(request)
            job, position = created.job, created.position
        else:
            position = self._index.position(job)
        if not job.status.is_terminal and not self._acceptance.confirm(job_id):
            # Its attempt decided to withdraw it, and may have died since.
            if self._acceptance.withdraw(job_id, is_shared=True):
                raise JobWithdrawn
            job = self._store.get(job_id) or job
        return AcceptedJob(job, request, is_replay=True, position=position)

    def _check_has_not_ended(self, job_id: str) -> None:
        """Check that a job without a record may get one. Raises JobWithdrawn, IdempotencyConflict: it has ended."""
        try:
            load_result(self._object_store, job_id)
        except JobWithdrawn:
            raise
        except NotFound:
            return
        raise _gone()

    def _load_request(self, job_id: str) -> JobRequest:
        """Load the request of an earlier attempt. Raises JobWithdrawn, IdempotencyConflict: it was deleted."""
        try:
            return load_request(self._object_store, job_id)
        except NotFound:
            # The result object is read second: a withdrawal writes it before it deletes the request.
            if is_withdrawn(self._object_store, job_id):
                raise JobWithdrawn from None
            raise _gone() from None

    def _assign_key(self, request: JobRequest, key_object: str) -> bool:
        """Make this the job of the request's Idempotency-Key. False: the key has a job."""
        keyed = KeyedJob(request.id, request.fingerprint)
        if self._object_store.put_if_absent(key_object, keyed.to_json()):
            return True
        stored = load_keyed_job(self._object_store, key_object)
        if stored is None:  # its lifetime has just ended
            raise StoreUnavailable("The job of this Idempotency-Key has just expired; send the request again.")
        return stored.job_id == request.id

    def _delete_unused(self, request: JobRequest) -> None:
        """Delete the request and media of an attempt that did not get the key. Without the key it is not accepted."""
        try:
            self._object_store.delete(request_key(request.id))
            self._object_store.delete_prefix(f"{job_folder(request.id)}/")
        except ObjectStoreUnavailable:
            log.warning("request.removal_failed", job_id=request.id)


def load_keyed_job(object_store: ObjectStore, key_object: str) -> KeyedJob | None:
    """Return which job belongs to an Idempotency-Key; None: none yet.

    Raises:
        IdempotencyConflict: the stored record is damaged.
        ObjectStoreUnavailable
    """
    try:
        return find_keyed_job(object_store, key_object)
    except CorruptDocument as error:
        log.error("idempotency.corrupt", detail=str(error))
    raise IdempotencyConflict(
        "The stored record of this Idempotency-Key is damaged. Look for the job in GET /v1/jobs; send a new key to run "
        "the request again."
    )


def _gone() -> IdempotencyConflict:
    return IdempotencyConflict(
        "The job of this Idempotency-Key was deleted or has expired; send a new key to run the request again."
    )
