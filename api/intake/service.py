"""Turns a request into a job: check it, store its media, store the request, create the record, send a wake-up.

This order makes a 202 a promise: by then, all that is needed to rebuild the job is durable.
"""

import hashlib
import hmac
from dataclasses import dataclass

import structlog
from ulid import ULID

from api.intake.admission import AdmissionQuota
from api.intake.conversation import ConversationLoader, raise_invalid
from api.intake.media import MediaIntake
from api.intake.request_builder import RequestBuilder, fingerprint_of
from api.intake.url_policy import UrlPolicy
from api.schemas.jobs import JobBody
from jobs.errors import (
    Forbidden,
    IdempotencyConflict,
    NotEnded,
    ObjectStoreUnavailable,
    StoreUnavailable,
    ThinkqueueError,
)
from jobs.model.job import Job, Stage
from jobs.model.request import JobRequest
from jobs.model.retention import DAY_MS
from jobs.objects.documents import load_request
from jobs.objects.keys import request_key, result_key
from jobs.objects.reader import DocumentReader
from jobs.objects.store import ObjectStore
from jobs.table.listing import JobIndex, labels
from jobs.table.store import JobStore
from jobs.table.types import AcceptResult
from jobs.tenants.api_keys import ApiKey
from jobs.wakeup.notify import send_wakeup
from runtime.settings import Settings

log = structlog.get_logger(__name__)

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True)
class AcceptedJob:
    """A job that is durable, and its request."""

    job: Job
    request: JobRequest
    is_replay: bool
    """The job already existed: the request is a repeat."""
    position: int | None
    """Number of jobs served before it within its priority; None when it does not wait."""


@dataclass(frozen=True)
class Admission:
    """The limits allow a new job under this id.

    The id is new, or an earlier attempt of the same request got it and may have failed before its job existed.
    """

    job_id: str


@dataclass(frozen=True)
class ExistingJob:
    """An earlier attempt of the same request created this job."""

    job: Job


class Intake:
    """Accepts jobs. The benchmark of the intake replaces ``admit`` and ``create_record`` to measure their cost."""

    def __init__(
        self,
        store: JobStore,
        index: JobIndex,
        object_store: ObjectStore,
        documents: DocumentReader,
        media: MediaIntake,
        settings: Settings,
    ) -> None:
        self._store = store
        self._index = index
        self._object_store = object_store
        self._builder = RequestBuilder(documents, media, settings)
        self._conversations = ConversationLoader(store, documents, settings.family.special_tokens)
        self._url_policy = UrlPolicy(settings.egress_allow)
        self._settings = settings
        self._quota = AdmissionQuota()

    def accept(
        self, body: JobBody, *, caller: ApiKey, idempotency_key: str | None = None, retry_count: int | None = None
    ) -> AcceptedJob:
        """Create a job from a valid body, or return the job that an earlier attempt created.

        Args:
            body: the validated request.
            caller: the API key of the request.
            idempotency_key: repeats with this key return the same job.
            retry_count: how often a client library has already sent this request; None if it does not say.

        Raises:
            Invalid: the model cannot process the request.
            Forbidden: the key may not use this priority.
            IdempotencyConflict: the key was used for another body.
            Overloaded: a limit is reached.
            Unavailable, NotInitialized: nothing was accepted; the same request may be sent again.
        """
        self._url_policy.check_job(body)
        conversation = self._conversations.load(body, tenant=caller.tenant)
        conversation.check(self._settings.family)
        self._check_token_limits(body)
        self._check_permissions(body, caller)
        fingerprint = fingerprint_of(body.model_dump(exclude_unset=True))
        if idempotency_key is not None:
            admission = self._admit_keyed(caller, idempotency_key)
        else:
            admission = self.admit(f"job_{ULID()}", caller, fingerprint=fingerprint, retry_count=retry_count)
        if isinstance(admission, ExistingJob):
            return self._replay(admission.job, fingerprint)
        request = self._builder.build_and_store_media(
            admission.job_id, conversation, tenant=caller.tenant, fingerprint=fingerprint
        )
        return self._store_and_create(request, is_keyed=idempotency_key is not None)

    def retry(self, job: Job, *, caller: ApiKey, idempotency_key: str | None = None) -> AcceptedJob:
        """Create a new job from an ended job's request, with copies of its media.

        Raises:
            NotEnded: the job has not ended.
            ThinkqueueError: as ``accept``.
        """
        if not job.status.is_terminal:
            raise NotEnded
        if idempotency_key is not None:
            admission = self._admit_keyed(caller, idempotency_key)
        else:
            admission = self.admit(f"job_{ULID()}", caller)
        fingerprint = fingerprint_of({"retried": job.id})
        if isinstance(admission, ExistingJob):
            return self._replay(admission.job, fingerprint)
        request = self._builder.build_retry_and_copy_media(admission.job_id, job, fingerprint=fingerprint)
        return self._store_and_create(request, is_keyed=idempotency_key is not None)

    def admit(
        self, job_id: str, caller: ApiKey, *, fingerprint: str = "", retry_count: int | None = None
    ) -> Admission | ExistingJob:
        """Check the limits for a new job.

        When the client library counts its retries, the fingerprint is remembered for some minutes, and a retry finds
        the id of the first attempt.

        Raises:
            Overloaded: a limit is reached.
        """
        remembered = "" if retry_count is None else fingerprint
        if not remembered and self._quota.spend(caller.tenant):
            return Admission(job_id)
        checked = self._store.admission.check(
            job_id,
            tenant=caller.tenant,
            max_waiting=self._settings.max_waiting_jobs,
            max_open=caller.max_open_jobs or self._settings.max_open_jobs,
            body=remembered,
            is_repeat=bool(retry_count),
        )
        self._quota.grant(caller.tenant, checked.remaining)
        if checked.existing_job_id is None:
            return Admission(job_id)
        job = self._store.get(checked.existing_job_id)
        return Admission(checked.existing_job_id) if job is None else ExistingJob(job)

    def create_record(self, request: JobRequest) -> AcceptResult:
        """Create the record of a stored request and send a wake-up. Does nothing to an existing record."""
        retention_ms = self._settings.retention_days * DAY_MS
        created = self._store.accept(
            request.id,
            tenant=request.tenant,
            priority=request.priority,
            expires_ms=request.expires_ms,
            events=request.callback.events if request.callback else (),
            copies=len(request.result_urls),
            retention_ms=request.retention_ms or 0,
            index_ms=request.expires_ms + retention_ms + DAY_MS,
            labels=labels(request.metadata),
        )
        if created.needs_wakeup:
            try:
                send_wakeup(Stage.PREPARE)
            except StoreUnavailable:
                log.warning("wakeup.failed", stage=Stage.PREPARE)  # the job is durable; the keeper sends a wake-up
        return created

    def _admit_keyed(self, caller: ApiKey, idempotency_key: str) -> Admission | ExistingJob:
        job_id = keyed_job_id(caller.tenant, idempotency_key)
        if (job := self._store.get(job_id)) is not None:
            return ExistingJob(job)
        return self.admit(job_id, caller)

    def _replay(self, job: Job, fingerprint: str) -> AcceptedJob:
        request = self._read_earlier_request(job.id, fingerprint)
        return AcceptedJob(job, request, is_replay=True, position=self._index.position(job))

    def _store_and_create(self, request: JobRequest, *, is_keyed: bool) -> AcceptedJob:
        """Store the request, then create its record."""
        is_replay = not self._object_store.put_if_absent(request_key(request.id), request.to_json())
        if is_replay:
            # An earlier attempt stored it, and may have died before it created the record.
            request = self._read_earlier_request(request.id, request.fingerprint)
        try:
            created = self.create_record(request)
        except ThinkqueueError:
            # The client learns that nothing was accepted, so `recover` must not create the job. A keyed request stays:
            # another attempt may already use it, and the next one with the same key finds it.
            if not (is_replay or is_keyed):
                self._remove_request(request)
            raise
        if not is_replay:
            log.info("job.accepted", job_id=request.id, tenant=request.tenant, priority=request.priority)
        return AcceptedJob(created.job, request, is_replay, created.position)

    def _remove_request(self, request: JobRequest) -> None:
        try:
            self._object_store.delete(request_key(request.id))
        except ObjectStoreUnavailable:
            log.warning("request.removal_failed", job_id=request.id)

    def _check_permissions(self, body: JobBody, caller: ApiKey) -> None:
        if body.priority not in caller.priorities:
            raise Forbidden(
                f"This API key does not permit priority {body.priority}; permitted: {', '.join(caller.priorities)}."
            )
        longest_s = self._settings.retention_days * DAY_MS // 1000
        if body.retention_seconds is not None and body.retention_seconds > longest_s:
            raise_invalid("/retention_seconds", f"is {body.retention_seconds}; the limit is {longest_s} seconds")

    def _check_token_limits(self, body: JobBody) -> None:
        family = self._settings.family
        answer = body.max_answer_tokens or family.max_answer_tokens
        budget = max(body.thinking.budget_tokens, 0) if body.thinking else 0
        if answer + budget >= family.context_tokens:
            raise_invalid(
                "/max_answer_tokens" if answer >= family.context_tokens else "/thinking/budget_tokens",
                f"thinking ({budget}) and answer ({answer}) leave no room for a prompt in the model's "
                f"{family.context_tokens} tokens; lower one of them",
            )

    def _read_earlier_request(self, job_id: str, fingerprint: str) -> JobRequest:
        """Return the request stored under this id. Its record may be missing.

        Raises:
            IdempotencyConflict: it has another body, or its job has expired.
            NotFound: it has been deleted in the meantime.
        """
        earlier = load_request(self._object_store, job_id)
        if earlier.fingerprint != fingerprint:
            raise IdempotencyConflict
        if self._store.get(job_id) is None and not self._object_store.is_empty(result_key(job_id)):
            raise IdempotencyConflict("The job of this Idempotency-Key has expired; send a new key.")
        return earlier


def keyed_job_id(tenant: str, idempotency_key: str) -> str:
    """Derive a job id from an Idempotency-Key, so that a retry after a lost reply finds the job it created."""
    digest = hmac.new(tenant.encode(), idempotency_key.encode(), hashlib.sha256).digest()
    number = int.from_bytes(digest[:16])
    return "job_" + "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -5, -5))
