"""Turns a request into a job: check it, store its media, store the request, create the record, send a wake-up.

This order makes a 202 a promise: by then, all that is needed to rebuild the job is durable.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog
from ulid import ULID

from api.intake.admission import AdmissionQuota
from api.intake.answer_format import check_response_format
from api.intake.conversation import ConversationLoader
from api.intake.creation import AcceptedJob, JobCreator, load_keyed_job
from api.intake.limits import RequestLimits, permitted_priority
from api.intake.media import MediaIntake
from api.intake.request_builder import RequestBuilder, fingerprint_of
from api.intake.url_policy import UrlPolicy
from api.schemas.jobs import JobBody, RetryBody
from jobs.errors import IdempotencyConflict, NotEnded, NotInitialized, StoreUnavailable, Unavailable
from jobs.lifecycle.end.ended_jobs import EndedJobReader
from jobs.model.documents.idempotency import key_digest
from jobs.model.documents.request import JobRequest
from jobs.model.job import Job, Stage
from jobs.model.retention import DAY_MS
from jobs.objects.keys import idempotency_key as idempotency_object
from jobs.objects.reader import DocumentReader
from jobs.objects.store import ObjectStore
from jobs.table.reports.listing import JobIndex, labels
from jobs.table.store import JobStore
from jobs.table.types import AcceptResult
from jobs.tenants.api_key import ApiKey
from jobs.tenants.quotas import TenantQuotas
from jobs.wakeup.notify import send_wakeup
from runtime.settings import Settings

log = structlog.get_logger(__name__)

MAX_WITHDRAWN_JOBS = 100
"""Attempts with one Idempotency-Key that may fail after they had stored their job."""

ENDED_LIMIT_FACTOR = 2
"""New jobs are refused when a tenant has this many times ``MAX_ENDED_JOBS``: those above it cannot leave Redis yet."""

Build = Callable[[str], JobRequest]
"""Stores the media of a request under a job id and returns the request."""


@dataclass(frozen=True)
class Admission:
    """The limits allow a new job under this id."""

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
        ended_jobs: EndedJobReader,
        media: MediaIntake,
        quotas: TenantQuotas,
        settings: Settings,
    ) -> None:
        self._store = store
        self._object_store = object_store
        self._ended_jobs = ended_jobs
        self._media = media
        self._builder = RequestBuilder(documents, media, settings)
        self._conversations = ConversationLoader(store, documents, ended_jobs, settings.family.special_tokens)
        self._limits = RequestLimits(settings)
        self._url_policy = UrlPolicy(settings.egress_networks)
        self._settings = settings
        self._quota = AdmissionQuota()
        self._tenant_quotas = quotas
        self._creator = JobCreator(store, index, object_store, ended_jobs, create_record=self.create_record)

    def accept(
        self,
        body: JobBody,
        *,
        caller: ApiKey,
        idempotency_key: str | None = None,
        retry_count: int | None = None,
        surface: str = "",
        client_fields: Mapping[str, Any] | None = None,
    ) -> AcceptedJob:
        """Create a job from a valid body, or return the job that an earlier attempt created.

        Args:
            body: the validated request.
            caller: the API key of the request.
            idempotency_key: repeats with this key return the same job.
            retry_count: how often a client library has already sent this request; None if it does not say.
            surface: through which API the request came; empty: the native one. Equal requests of different surfaces
                are different requests.
            client_fields: as for ``JobRequest``.

        Raises:
            Invalid: the model cannot process the request.
            Forbidden: the key may not use this priority.
            IdempotencyConflict: the key was used for another body.
            Overloaded: a limit is reached.
            AcceptanceUnknown: the job may have been accepted.
            Unavailable, NotInitialized: nothing was accepted; the same request may be sent again.
        """
        self._url_policy.check_job(body)
        conversation = self._conversations.load(body, tenant=caller.tenant)
        conversation.check(self._settings.family)
        self._limits.check_tokens(body)
        check_response_format(body)
        self._limits.check_times(body)
        priority = permitted_priority(body.priority if "priority" in body.model_fields_set else None, caller)
        # A field that has its default value is the same as one that was not sent.
        sent = body.model_dump(exclude_defaults=True)
        about: dict[str, Any] = {"surface": surface, "client_fields": dict(client_fields or {})} if surface else {}
        fingerprint = fingerprint_of({**about, **sent})

        def build(job_id: str) -> JobRequest:
            request = self._builder.build_and_store_media(
                job_id, conversation, tenant=caller.tenant, priority=priority, fingerprint=fingerprint
            )
            return replace(request, **about)

        if idempotency_key is not None:
            return self._accept_keyed(build, caller, fingerprint, idempotency_key)
        return self._accept_unkeyed(build, caller, fingerprint, retry_count)

    def retry(self, job: Job, changes: RetryBody, *, caller: ApiKey, idempotency_key: str | None = None) -> AcceptedJob:
        """Create a new job from an ended job's request, with copies of its media.

        Args:
            job: the ended job.
            changes: what is different in the new job.
            caller: the API key of the request.
            idempotency_key: repeats with this key return the same job.

        Raises:
            NotEnded: the job has not ended.
            ThinkqueueError: as ``accept``.
        """
        if not job.status.is_terminal:
            raise NotEnded
        if changes.callback:
            self._url_policy.check("/callback/url", changes.callback.url)
        priority = permitted_priority(changes.priority or job.priority, caller)
        fingerprint = fingerprint_of({"retried": job.id, **changes.model_dump(exclude_none=True)})

        def build(job_id: str) -> JobRequest:
            return self._builder.build_retry_and_copy_media(
                job_id, job, changes, priority=priority, fingerprint=fingerprint
            )

        if idempotency_key is not None:
            return self._accept_keyed(build, caller, fingerprint, idempotency_key)
        return self._accept_unkeyed(build, caller, fingerprint, None)

    def admit(
        self, job_id: str, caller: ApiKey, *, fingerprint: str = "", retry_count: int | None = None
    ) -> Admission | ExistingJob:
        """Check the limits for a new job.

        When the client library counts its retries, the fingerprint is remembered for some minutes, and a retry finds
        the id of the first attempt.

        Raises:
            Overloaded: a limit is reached, or a quota of the key is used up.
        """
        remembered = "" if retry_count is None else fingerprint
        if not retry_count:  # a repeat may find a job that used up the quota
            self._tenant_quotas.require(caller)
        max_open = caller.max_open_jobs or self._settings.max_open_jobs
        if not remembered and self._quota.spend(caller.tenant, max_open):
            return Admission(job_id)
        checked = self._store.admission.check(
            job_id,
            tenant=caller.tenant,
            max_waiting=self._settings.max_waiting_jobs,
            max_open=max_open,
            max_ended=ENDED_LIMIT_FACTOR * self._settings.max_ended_jobs,
            body=remembered,
            is_repeat=bool(retry_count),
        )
        self._quota.grant(caller.tenant, max_open, checked.remaining)
        if checked.existing_job_id is None:
            admission = Admission(job_id)
            if retry_count:
                with self._reservation(admission, caller):
                    self._tenant_quotas.require(caller)
            return admission
        job = self._store.get(checked.existing_job_id)
        if job is None:
            job = self._ended_jobs.find(checked.existing_job_id, tenant=caller.tenant)
        if job is None and not self._creator.replace_attempt(checked.existing_job_id):
            job = self._store.get(checked.existing_job_id)  # its record was created just now
        if job is not None:
            return ExistingJob(job)
        return self.admit(job_id, caller, fingerprint=fingerprint, retry_count=0)

    def create_record(self, request: JobRequest) -> AcceptResult:
        """Create the record of a stored request and send a wake-up. Does nothing to an existing record."""
        self._media.keep_uploads(request)
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
            max_ended=self._settings.max_ended_jobs,
            labels=labels(request.metadata),
        )
        if created.needs_wakeup:
            try:
                send_wakeup(Stage.PREPARE)
            except StoreUnavailable:
                log.warning("wakeup.failed", stage=Stage.PREPARE)  # the job is durable; the keeper sends a wake-up
        return created

    def _accept_unkeyed(self, build: Build, caller: ApiKey, fingerprint: str, retry_count: int | None) -> AcceptedJob:
        admission = self.admit(new_job_id(), caller, fingerprint=fingerprint, retry_count=retry_count)
        if isinstance(admission, ExistingJob):
            earlier = self._creator.find_earlier(
                admission.job.id, tenant=caller.tenant, fingerprint=fingerprint, earlier_fingerprint=fingerprint
            )
            if earlier is not None:
                return earlier
            admission = self.admit(new_job_id(), caller, fingerprint=fingerprint, retry_count=0)
            assert isinstance(admission, Admission)
        with self._reservation(admission, caller):
            accepted = self._creator.create(build(admission.job_id), is_remembered=retry_count is not None)
            assert accepted is not None
            return accepted

    def _accept_keyed(self, build: Build, caller: ApiKey, fingerprint: str, idempotency_key: str) -> AcceptedJob:
        """Return the job of an Idempotency-Key; create it if the key has none, or only jobs that were withdrawn."""
        digest, number = key_digest(caller.tenant, idempotency_key), 0
        while number < MAX_WITHDRAWN_JOBS:
            key_object = idempotency_object(digest, number)
            keyed = load_keyed_job(self._object_store, key_object)
            if keyed is None:
                admission = self.admit(new_job_id(), caller)
                assert isinstance(admission, Admission)
                with self._reservation(admission, caller):
                    accepted = self._creator.create(replace(build(admission.job_id), key_object=key_object))
                    if accepted is not None:
                        return accepted
                self._cancel_reservation(admission.job_id, caller)
                continue  # another attempt with this key was faster
            earlier = self._creator.find_earlier(
                keyed.job_id,
                tenant=caller.tenant,
                fingerprint=fingerprint,
                earlier_fingerprint=keyed.fingerprint,
            )
            if earlier is not None:
                return earlier
            number += 1
        raise IdempotencyConflict("Too many attempts with this Idempotency-Key have failed; send a new key.")

    @contextmanager
    def _reservation(self, admission: Admission, caller: ApiKey) -> Iterator[None]:
        """Cancel the job's reservation when it is not accepted; accepting it ends the reservation too."""
        try:
            yield
        except Exception:
            self._cancel_reservation(admission.job_id, caller)
            raise

    def _cancel_reservation(self, job_id: str, caller: ApiKey) -> None:
        with suppress(Unavailable, NotInitialized):  # it ends by itself
            self._store.admission.cancel(job_id, tenant=caller.tenant)


def new_job_id() -> str:
    return f"job_{ULID()}"
