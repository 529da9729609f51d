"""Makes one delivery attempt: a webhook, or a copy of a result. Records it and schedules the next one."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import structlog

from jobs.errors import NotFound, Unavailable
from jobs.lifecycle.end.deletion import delete_if_removed
from jobs.lifecycle.end.ended_jobs import EndedJobReader
from jobs.model.documents.request import JobRequest
from jobs.model.retention import DAY_MS
from jobs.model.retry_schedule import MAX_ATTEMPTS
from jobs.model.times import now
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import load_json, load_request, load_result, save_json
from jobs.objects.keys import event_test_key, tombstone_key
from jobs.objects.store import ObjectStore
from jobs.table.deliveries import (
    COPY_EVENT,
    DeliveryAttempt,
    DeliveryState,
    DeliveryStore,
    DueDelivery,
)
from jobs.table.store import JobStore
from jobs.tenants.webhook_secrets import WebhookSecrets
from runtime.settings import Settings
from runtime.telemetry import metrics
from worker.egress.client import EgressClient
from worker.egress.errors import EgressError
from worker.egress.transport import Target
from worker.keeper.delivery.address_limiter import AddressLimiter
from worker.keeper.delivery.outbound import OutboundRequest
from worker.keeper.delivery.result_upload import upload_request, upload_url
from worker.keeper.delivery.retry import parse_retry_after_s, retry_delay_s, state_after_attempt
from worker.keeper.delivery.webhook import test_event_request, webhook_request

log = structlog.get_logger(__name__)
T = TypeVar("T")

MAX_READS_PER_TENANT = 4
"""Threads that read a tenant's objects. Many deliveries that are due at once must not keep others from theirs."""

STORE_RETRY_S = 2.0
MAX_STORE_RETRY_S = 60.0
"""Bounds of the wait for a server of ours that does not answer."""
NOTHING_TO_SEND = "the job was deleted after its retention; nothing was sent"
LOST = "the keeper stopped during each of the last attempts; nothing was sent"
UNREADABLE = "the job could not be read during its retention; nothing was sent"


class Deliverer:
    """Makes the attempts of one keeper process."""

    def __init__(
        self,
        store: JobStore,
        deliveries: DeliveryStore,
        object_store: ObjectStore,
        settings: Settings,
        egress: EgressClient,
    ) -> None:
        self._store = store
        self._deliveries = deliveries
        self._object_store = object_store
        self._settings = settings
        self._egress = egress
        self._ended_jobs = EndedJobReader(store, object_store, retention_days=settings.retention_days)
        self._secrets = WebhookSecrets(object_store, settings)
        self._limiter = AddressLimiter()
        self._reads: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """By tenant; kept while a delivery of the tenant uses it."""

    async def deliver(self, due: DueDelivery, *, claim: str) -> None:
        """Make one attempt and record its outcome; postpone the delivery while its receiver has no free slot.

        A cancelled attempt releases the delivery, so that another keeper can make the attempt at once.
        """
        if due.attempts >= MAX_ATTEMPTS:
            # The claims of the last attempts were lost: whatever ended their keepers must not end this one.
            await self._settle(due, claim, "abandoned", _attempt_without_request(LOST))
            return
        try:
            await self._attempt(due, claim)
        except asyncio.CancelledError:
            await asyncio.shield(self._postpone(due, claim, 0))
            raise

    async def _attempt(self, due: DueDelivery, claim: str) -> None:
        found = await self._read(due.tenant, self._read_receiver, due)
        if found is None:
            await self._settle(due, claim, "abandoned", _attempt_without_request())
            return
        url, job_request = found
        host, started = urlsplit(url).hostname or "", time.monotonic()
        try:
            target = await self._egress.check(url, owner=due.tenant)
        except EgressError as error:
            await self._record(due, claim, host, _failed_attempt(error, started), 0)
            return
        if wait_s := self._limiter.acquire(due.tenant, target.addresses):
            await self._postpone(due, claim, wait_s, receiver_is_busy=True)
            return
        started = time.monotonic()
        try:
            request = await self._read(due.tenant, self._build_request, due, url, job_request)
            if request is None:
                await self._settle(due, claim, "abandoned", _attempt_without_request())
                return
            attempt, retry_after_s = await self._send(request, target)
        finally:
            self._limiter.release(due.tenant, target.addresses, duration_s=time.monotonic() - started)
        await self._record(due, claim, host, attempt, retry_after_s)

    async def _read(self, tenant: str, read: Callable[..., T], *arguments: object) -> T:
        """Read from the object store in a thread; at most ``MAX_READS_PER_TENANT`` of a tenant at once."""
        slots = self._reads.get(tenant)
        if slots is None:
            slots = self._reads[tenant] = asyncio.Semaphore(MAX_READS_PER_TENANT)
        async with slots:
            return await asyncio.to_thread(read, *arguments)

    async def release(self, due: DueDelivery, claim: str) -> None:
        """Release a delivery that could not be attempted because a server of ours does not answer.

        The wait grows with the delivery's age, and ends with its retention: one object that the store cannot read must
        not be tried forever.
        """
        if due.age_ms >= self._settings.retention_days * DAY_MS:
            await self._settle(due, claim, "abandoned", _attempt_without_request(UNREADABLE))
            return
        await self._postpone(due, claim, min(max(due.age_ms / 1000, STORE_RETRY_S), MAX_STORE_RETRY_S))

    async def record_crash(self, due: DueDelivery, claim: str, error: Exception) -> None:
        """Count an attempt that ended with an unexpected error, so that the schedule ends here as well."""
        attempt = _attempt_without_request(f"the service failed to make this attempt: {type(error).__name__}")
        await self._record(due, claim, "", attempt, 0)

    async def _record(
        self, due: DueDelivery, claim: str, host: str, attempt: DeliveryAttempt, retry_after_s: float
    ) -> None:
        """Count and log an attempt, then settle the delivery or schedule its next attempt."""
        state = state_after_attempt(attempt.status, due.attempts + 1)
        metrics.DELIVERIES.labels("copy" if due.event == COPY_EVENT else "webhook", state).inc()
        metrics.DELIVERY_SECONDS.observe(attempt.latency_ms / 1000)
        if due.attempts == 0 and due.job_id and due.event != COPY_EVENT and not due.delayed:
            metrics.FIRST_DELIVERY_SECONDS.observe((due.age_ms + attempt.latency_ms) / 1000)
        wait_s = max(retry_delay_s(due.attempts + 1), retry_after_s) * self._settings.webhook_schedule_scale
        log.info(
            "delivery.attempted",
            outcome=state,
            job_id=due.job_id,
            event_type=due.event,
            host=host,
            attempt=due.attempts + 1,
            status=attempt.status,
            error=attempt.error,
        )
        if state != "pending" and due.job_id:
            await asyncio.to_thread(self._write_tombstone, due, state, attempt)
        await self._settle(due, claim, state, attempt, wait_ms=round(wait_s * 1000))

    def _read_receiver(self, due: DueDelivery) -> tuple[str, JobRequest | None] | None:
        """Return the receiver's URL and the job's request; None: the objects are gone, or there is no receiver."""
        try:
            if not due.job_id:
                return str(load_json(self._object_store, event_test_key(due.id))["url"]), None
            request = load_request(self._object_store, due.job_id)
        except (ObjectNotFound, NotFound):
            return None
        if due.event == COPY_EVENT:
            url = upload_url(due, request)
        else:
            url = request.callback.url if request.callback else None
        return (url, request) if url else None

    def _build_request(self, due: DueDelivery, url: str, request: JobRequest | None) -> OutboundRequest | None:
        """Build what is sent; None: the job or its objects are gone."""
        try:
            if request is None:
                return test_event_request(due, self._object_store, self._secrets)
            job, result = self._store.get(due.job_id), load_result(self._object_store, due.job_id)
        except (ObjectNotFound, NotFound):
            return None
        if due.event == COPY_EVENT:
            return upload_request(url, request, result)
        job = job or self._ended_jobs.find(due.job_id, tenant=due.tenant)
        if job is None:
            return None
        return webhook_request(due, url, job, request, result, self._object_store, self._secrets)

    def _write_tombstone(self, due: DueDelivery, state: DeliveryState, last: DeliveryAttempt) -> None:
        """Store a settled delivery in the object store, so that a rebuilt job table does not send it again."""
        known = self._deliveries.get(due.id)
        attempts = [asdict(attempt) for attempt in [*(known.attempts if known else []), last]]
        try:
            save_json(self._object_store, tombstone_key(due.id), {"state": state, "attempts": attempts})
            delete_if_removed(self._store, self._object_store, due.job_id, tombstone_key(due.id))
        except Unavailable as error:
            # The delivery is settled anyway: it is sent again only if Redis loses its data as well.
            log.warning("delivery.tombstone_failed", job_id=due.job_id, code=error.code)

    async def _send(self, request: OutboundRequest, target: Target) -> tuple[DeliveryAttempt, float]:
        """Send a request; return the attempt, and the seconds of the response's ``Retry-After``."""
        at, started = now(), time.monotonic()
        try:
            response = await self._egress.send(
                request.method,
                request.url,
                body=request.body,
                headers=request.headers,
                timeout_s=self._settings.webhook_timeout_s,
                target=target,
            )
        except EgressError as error:
            return _failed_attempt(error, started), 0
        text = response.body_prefix.decode("utf-8", "replace")
        attempt = DeliveryAttempt(at, response.status, None, response.elapsed_ms, text)
        return attempt, parse_retry_after_s(response.headers)

    async def _postpone(self, due: DueDelivery, claim: str, wait_s: float, *, receiver_is_busy: bool = False) -> None:
        wait_ms = round(wait_s * 1000)
        await asyncio.to_thread(
            self._deliveries.postpone, due.id, claim=claim, wait_ms=wait_ms, receiver_is_busy=receiver_is_busy
        )

    async def _settle(
        self, due: DueDelivery, claim: str, state: DeliveryState, attempt: DeliveryAttempt, *, wait_ms: int = 0
    ) -> None:
        await asyncio.to_thread(
            self._deliveries.settle,
            due.id,
            claim=claim,
            state=state,
            attempt=attempt,
            wait_ms=wait_ms,
            retention_ms=self._settings.retention_days * DAY_MS,
        )


def _attempt_without_request(error: str = NOTHING_TO_SEND) -> DeliveryAttempt:
    return DeliveryAttempt(now(), None, error, 0, "")


def _failed_attempt(error: EgressError, started: float) -> DeliveryAttempt:
    latency_ms = round((time.monotonic() - started) * 1000)
    return DeliveryAttempt(now(), None, f"{error.code}: {error.message}", latency_ms, "")
