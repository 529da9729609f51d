"""What a job's end is told by: webhooks, and copies of results. One attempt, the ledger, and when to try again."""

import asyncio
import json
import random
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import structlog

from jobs.errors import ObjectStoreUnavailable
from jobs.lifecycle.finalize import DAY_MS
from jobs.model.request import JobRequest
from jobs.model.result import JobResult
from jobs.objects.store import ObjectMissing, ObjectStore, request_key, result_key
from jobs.table.deliveries import COPY_EVENT, DeliveryAttempt, DeliveryStore, DueDelivery, test_event_key, tombstone_key
from jobs.table.store import JobStore
from jobs.tenants.webhook_secrets import WebhookSecrets
from runtime import metrics
from runtime.settings import Settings
from worker.egress.client import EgressClient
from worker.egress.errors import EgressError
from worker.keeper.delivery import result_upload, webhook
from worker.keeper.delivery.host_limiter import HostLimiter
from worker.keeper.delivery.outbound import OutboundRequest

log = structlog.get_logger(__name__)

WAITS_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Between tries; the first one is made at once."""
JITTER = 0.2
MAX_RETRY_AFTER_S = 86_400
GONE = 410


class Deliverer:
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
        """Make one attempt, and settle what follows from it; or put it off while its host is busy.

        Cancelled, it gives the row back, so that another keeper makes the attempt at once.
        """
        url = await asyncio.to_thread(self._url, due)
        if url is None:
            await self._settle(due, claim, "abandoned", _failed_attempt("the job has outlived its retention"))
            return
        host = urlsplit(url).hostname or ""
        if wait_s := self._hosts.enter(host):
            await self._postpone(due, claim, wait_s)
            return
        started = time.monotonic()
        try:
            message = await asyncio.to_thread(self._message, due, url)
            if message is None:
                await self._settle(due, claim, "abandoned", _failed_attempt("the job has outlived its retention"))
                return
            attempt, retry_after_s = await self._send(message)
        except asyncio.CancelledError:
            await asyncio.shield(self._postpone(due, claim, 0))
            raise
        finally:
            self._hosts.leave(host, took_s=time.monotonic() - started)
        await self._conclude(due, claim, host, attempt, retry_after_s)

    async def _conclude(
        self, due: DueDelivery, claim: str, host: str, attempt: DeliveryAttempt, retry_after_s: float
    ) -> None:
        state = verdict(attempt.status, due.attempts + 1)
        metrics.DELIVERIES.labels("copy" if due.event == COPY_EVENT else "webhook", state).inc()
        metrics.DELIVERY_SECONDS.observe(attempt.latency_ms / 1000)
        wait_s = max(next_wait_s(due.attempts + 1), retry_after_s) * self._settings.webhook_schedule_scale
        log.info(
            f"delivery.{'retrying' if state == 'pending' else state}",
            job_id=due.job_id,
            event_type=due.event,
            host=host,
            attempt=due.attempts + 1,
            status=attempt.status,
            error=attempt.error,
        )
        if state != "pending" and due.job_id:
            await asyncio.to_thread(self._bury, due, state, attempt)
        await self._settle(due, claim, state, attempt, wait_ms=round(wait_s * 1000))

    def _url(self, due: DueDelivery) -> str | None:
        """None: what it would tell of is gone, or has no such receiver."""
        try:
            if not due.job_id:
                return str(self._object_store.get_json(test_event_key(due.id))["url"])
            request = self._request(due)
        except ObjectMissing:
            return None
        if due.event == COPY_EVENT:
            return result_upload.url(due, request)
        return request.callback.url if request.callback else None

    def _message(self, due: DueDelivery, url: str) -> OutboundRequest | None:
        """None: what it would tell of is gone."""
        try:
            if not due.job_id:
                return webhook.trial_message(due, self._object_store, self._secrets)
            job, request = self._store.get(due.job_id), self._request(due)
            result = JobResult.from_json(self._object_store.get(result_key(due.job_id)))
        except ObjectMissing:
            return None
        if due.event == COPY_EVENT:
            return result_upload.message(url, request, result)
        if job is None:
            return None
        return webhook.message(due, url, job, request, result, self._object_store, self._secrets)

    def _request(self, due: DueDelivery) -> JobRequest:
        return JobRequest.from_json(self._object_store.get(request_key(due.job_id)))

    def _bury(self, due: DueDelivery, state: str, last: DeliveryAttempt) -> None:
        """Leave a trace that outlives Redis: a recovered job is not told of twice."""
        known = self._deliveries.get(due.id)
        attempts = [asdict(attempt) for attempt in [*(known.attempts if known else []), last]]
        tombstone = json.dumps({"state": state, "attempts": attempts}, ensure_ascii=False)
        try:
            self._object_store.put(tombstone_key(due.id), tombstone.encode(), "application/json")
        except ObjectStoreUnavailable as error:
            # Settled all the same: it is told twice only if Redis is lost, too.
            log.warning("delivery.tombstone_failed", job_id=due.job_id, code=error.code)

    async def _send(self, message: OutboundRequest) -> tuple[DeliveryAttempt, float]:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            reply = await self._egress.send(
                message.method,
                message.url,
                body=message.body,
                headers=message.headers,
                timeout_s=self._settings.webhook_timeout_s,
            )
        except EgressError as error:
            return DeliveryAttempt(at, None, f"{error.code}: {error.message}", 0, ""), 0
        text = reply.body_prefix.decode("utf-8", "replace")
        return DeliveryAttempt(at, reply.status, None, reply.elapsed_ms, text), retry_after_s(reply.headers)

    async def _postpone(self, due: DueDelivery, claim: str, wait_s: float) -> None:
        wait_ms = round(wait_s * 1000)
        await asyncio.to_thread(self._deliveries.postpone, due.id, claim=claim, wait_ms=wait_ms)

    async def _settle(
        self, due: DueDelivery, claim: str, state: Any, attempt: DeliveryAttempt, *, wait_ms: int = 0
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


def verdict(status: int | None, attempts: int) -> str:
    """2xx only is delivered; 410 says never again; the schedule's end is the end."""
    if status is not None and 200 <= status < 300:
        return "delivered"
    if status == GONE or attempts > len(WAITS_S):
        return "abandoned"
    return "pending"


def next_wait_s(attempts: int) -> float:
    """Seconds until the next try, after so many; spread, so that a host that returns is not run down."""
    wait = WAITS_S[min(attempts, len(WAITS_S)) - 1]
    return wait * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - not a secret


def retry_after_s(headers: Any, now: datetime | None = None) -> float:
    """``Retry-After`` in either of its forms, seconds or a date; at most a day, 0 without one."""
    value = str(headers.get("retry-after", "")).strip()
    if value.isdecimal() and value.isascii():
        return float(min(int(value[:9]), MAX_RETRY_AFTER_S))
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    wait = at - (now or datetime.now(UTC)) if at.tzinfo else timedelta()
    return min(max(wait.total_seconds(), 0.0), MAX_RETRY_AFTER_S)


def _failed_attempt(reason: str) -> DeliveryAttempt:
    return DeliveryAttempt(datetime.now(UTC).isoformat(timespec="milliseconds"), None, reason, 0, "")
