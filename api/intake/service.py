"""How a request becomes a job: check, store its media, store the request, create the record, notify.

The order is the promise: when the client hears 202, all that is needed to rebuild the job is durable.
"""

import hashlib
import hmac
from dataclasses import dataclass

import structlog
from ulid import ULID

from api.intake.admission import AdmissionQuota
from api.intake.conversation import Conversations, refuse
from api.intake.media import MediaIntake
from api.intake.request_builder import RequestBuilder, fingerprint_of
from api.schemas.requests import JobBody
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
from jobs.wakeup import notify
from runtime.settings import Settings

log = structlog.get_logger(__name__)

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True)
class Accepted:
    job: Job
    request: JobRequest
    replayed: bool
    """The job was there already, under the same Idempotency-Key."""
    position: int | None
    """How many jobs of its priority are served before it; None: it does not wait."""


class Intake:
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
        self._drafts = RequestBuilder(documents, media, settings)
        self._conversations = Conversations(store, documents, settings.family.special_tokens)
        self._settings = settings
        self._credit = AdmissionQuota()

    def accept(
        self, body: JobBody, *, caller: ApiKey, idempotency_key: str | None = None, tries_before: int | None = None
    ) -> Accepted:
        """Make a job of a valid body.

        Args:
            tries_before: of a client library that repeats a request when it lost the reply; None: it says nothing.

        Raises:
            Invalid: it cannot be done on this model.
            Forbidden: the key may not use this priority.
            IdempotencyConflict: the key was used for another body.
            Overloaded: no more jobs may come in now.
            Unavailable, NotInitialized: nothing was accepted; the same request may be sent again.
        """
        conversation = self._conversations.of(body, tenant=caller.tenant)
        conversation.check(self._settings.family)
        self._check_room(body)
        self._check_rights(body, caller)
        fingerprint = fingerprint_of(body.model_dump(exclude_unset=True))
        if idempotency_key is not None:
            job_id = keyed_job_id(caller.tenant, idempotency_key)
            known = self._store.get(job_id)
        else:
            job_id, known = f"job_{ULID()}", None
        if known is None:
            is_told = idempotency_key is not None or tries_before is None
            job_id = self._check(job_id, caller, "" if is_told else fingerprint, is_repeat=bool(tries_before))
        request = self._drafts.of_body(job_id, conversation, tenant=caller.tenant, fingerprint=fingerprint)
        return self._accept(request, known, is_keyed=idempotency_key is not None)

    def retry(self, job: Job, *, caller: ApiKey, idempotency_key: str | None = None) -> Accepted:
        """Make a new job of an ended one's request, with copies of its media. Raises NotEnded, and as ``accept``."""
        if not job.status.is_terminal:
            raise NotEnded
        job_id = f"job_{ULID()}" if idempotency_key is None else keyed_job_id(caller.tenant, idempotency_key)
        known = self._store.get(job_id) if idempotency_key else None
        if known is None:
            self._check(job_id, caller)
        return self._accept(self._drafts.of_job(job_id, job), known, is_keyed=idempotency_key is not None)

    def _check(self, job_id: str, caller: ApiKey, body: str = "", *, is_repeat: bool = False) -> str:
        """Returns the job's id: another one for a body that is to be remembered, and was."""
        if not body and self._credit.spend(caller.tenant):
            return job_id
        checked = self._store.check_admission(
            job_id,
            tenant=caller.tenant,
            max_waiting=self._settings.max_waiting_jobs,
            max_open=caller.max_open_jobs or self._settings.max_open_jobs,
            body=body,
            is_repeat=is_repeat,
        )
        self._credit.grant(caller.tenant, checked.remaining)
        return checked.existing_job_id or job_id

    def _accept(self, request: JobRequest, known: Job | None, *, is_keyed: bool) -> Accepted:
        """Store the request, then make its record; ``known``: it is there already."""
        replayed = known is not None or not self._object_store.put_if_absent(request_key(request.id), request.to_json())
        if replayed:
            request = self._earlier(request)
        if known is not None:
            return Accepted(known, request, replayed, self._index.position(known))
        try:
            admitted = self._create(request)
        except ThinkqueueError:
            # Its client hears that nothing was accepted: `recover` must not make a job of it. One with a key may be
            # somebody else's by now, and meets its job when it comes again.
            if not (replayed or is_keyed):
                self._withdraw(request)
            raise
        if not replayed:
            log.info("job.accepted", job_id=request.id, tenant=request.tenant, priority=request.priority)
        return Accepted(admitted.job, request, replayed, admitted.position)

    def _create(self, request: JobRequest) -> AcceptResult:
        retention_ms = self._settings.retention_days * DAY_MS
        admitted = self._store.accept(
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
        if admitted.needs_wakeup:
            try:
                notify.send(Stage.PREPARE)
            except StoreUnavailable:
                log.warning("bell.missed", stage=Stage.PREPARE)  # the job is in; the keeper rings
        return admitted

    def _withdraw(self, request: JobRequest) -> None:
        try:
            self._object_store.delete(request_key(request.id))
        except ObjectStoreUnavailable:
            log.warning("request.left_behind", job_id=request.id)

    def _check_rights(self, body: JobBody, caller: ApiKey) -> None:
        if body.priority not in caller.priorities:
            raise Forbidden(
                f"This API key may ask for the priorities {', '.join(caller.priorities)}, not {body.priority}."
            )
        longest_s = self._settings.retention_days * DAY_MS // 1000
        if body.retention_seconds is not None and body.retention_seconds > longest_s:
            refuse("/retention_seconds", f"is longer than this service keeps jobs, {longest_s} seconds")

    def _check_room(self, body: JobBody) -> None:
        family = self._settings.family
        answer = body.max_answer_tokens or family.max_answer_tokens
        budget = max(body.thinking.budget_tokens, 0) if body.thinking else 0
        if answer + budget >= family.context_tokens:
            refuse(
                "/max_answer_tokens" if answer >= family.context_tokens else "/thinking/budget_tokens",
                f"thinking ({budget}) and answer ({answer}) leave no room for a prompt "
                f"in the model's {family.context_tokens} tokens; ask for less",
            )

    def _earlier(self, request: JobRequest) -> JobRequest:
        """The request that took this id before; it may have died before its record was made."""
        earlier = load_request(self._object_store, request.id)
        if earlier.fingerprint != request.fingerprint:
            raise IdempotencyConflict
        if self._store.get(request.id) is None and not self._object_store.is_empty(result_key(request.id)):
            raise IdempotencyConflict("The job of this Idempotency-Key has outlived its retention; send a new key.")
        return earlier


def keyed_job_id(tenant: str, idempotency_key: str) -> str:
    """The same id for the same key, so that a retry after a lost reply meets the job that it made."""
    digest = hmac.new(tenant.encode(), idempotency_key.encode(), hashlib.sha256).digest()
    number = int.from_bytes(digest[:16])
    return "job_" + "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -5, -5))
