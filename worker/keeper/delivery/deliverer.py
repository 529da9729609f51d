"""Makes one delivery attempt: a webhook, or a copy of a result. Records it and schedules the next one."""

import asyncio
import time
from dataclasses import asdict
from urllib.parse import urlsplit

import structlog

from jobs.errors import NotFound, Unavailable
from jobs.lifecycle.deletion import delete_if_removed
from jobs.model.request import JobRequest
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
from runtime import metrics
from runtime.settings import Settings
from worker.egress.client import EgressClient
from worker.egress.errors import EgressError
from worker.keeper.delivery.host_limiter import HostLimiter
from worker.keeper.delivery.outbound import OutboundRequest
from worker.keeper.delivery.result_upload import upload_request, upload_url
from worker.keeper.delivery.retry import parse_retry_after_s, retry_delay_s, state_after_attempt
from worker.keeper.delivery.webhook import test_event_request, webhook_request

log = structlog.get_logger(__name__)

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
        self._secrets = WebhookSecrets(object_store, settings)
        self._hosts = HostLimiter()

    async def deliver(self, due: DueDelivery, *, claim: str) -> None:
        """Make one attempt and record its outcome; postpone the delivery while its host has no free slot.

        A cancelled attempt releases the delivery, so that another keeper can make the attempt at once.
        """
        if due.attempts >= MAX_ATTEMPTS:
            # The claims of the last attempts were lost: whatever ended their keepers must not end this one.
            await self._settle(due, claim, "abandoned", _attempt_without_request(LOST))
            return
        url = await asyncio.to_thread(self._target_url, due)
        if url is None:
            await self._settle(due, claim, "abandoned", _attempt_without_request())
            return
        host = urlsplit(url).hostname or ""
        if wait_s := self._hosts.acquire(host):
            await self._postpone(due, claim, wait_s)
            return
        started = time.monotonic()
        try:
            request = await asyncio.to_thread(self._build_request, due, url)
            if request is None:
                await self._settle(due, claim, "abandoned", _attempt_without_request())
                return
            attempt, retry_after_s = await self._send(request)
        except asyncio.CancelledError:
            await asyncio.shield(self._postpone(due, claim, 0))
            raise
        finally:
            self._hosts.release(host, duration_s=time.monotonic() - started)
        await self._record(due, claim, host, attempt, retry_after_s)

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

    def _target_url(self, due: DueDelivery) -> str | None:
        """Return the receiver's URL; None: the job's objects are gone, or the job has no such receiver."""
        try:
            if not due.job_id:
                return str(load_json(self._object_store, event_test_key(due.id))["url"])
            request = self._read_request(due)
        except (ObjectNotFound, NotFound):
            return None
        if due.event == COPY_EVENT:
            return upload_url(due, request)
        return request.callback.url if request.callback else None

    def _build_request(self, due: DueDelivery, url: str) -> OutboundRequest | None:
        """Build what is sent; None: the job or its objects are gone."""
        try:
            if not due.job_id:
                return test_event_request(due, self._object_store, self._secrets)
            job, request = self._store.get(due.job_id), self._read_request(due)
            result = load_result(self._object_store, due.job_id)
        except (ObjectNotFound, NotFound):
            return None
        if due.event == COPY_EVENT:
            return upload_request(url, request, result)
        if job is None:
            return None
        return webhook_request(due, url, job, request, result, self._object_store, self._secrets)

    def _read_request(self, due: DueDelivery) -> JobRequest:
        return load_request(self._object_store, due.job_id)

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

    async def _send(self, request: OutboundRequest) -> tuple[DeliveryAttempt, float]:
        """Send a request; return the attempt, and the seconds of the response's ``Retry-After``."""
        at = now()
        try:
            response = await self._egress.send(
                request.method,
                request.url,
                body=request.body,
                headers=request.headers,
                timeout_s=self._settings.webhook_timeout_s,
            )
        except EgressError as error:
            return DeliveryAttempt(at, None, f"{error.code}: {error.message}", 0, ""), 0
        text = response.body_prefix.decode("utf-8", "replace")
        attempt = DeliveryAttempt(at, response.status, None, response.elapsed_ms, text)
        return attempt, parse_retry_after_s(response.headers)

    async def _postpone(self, due: DueDelivery, claim: str, wait_s: float) -> None:
        wait_ms = round(wait_s * 1000)
        await asyncio.to_thread(self._deliveries.postpone, due.id, claim=claim, wait_ms=wait_ms)

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
