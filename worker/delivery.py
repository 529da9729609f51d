"""What a job's end is told by: webhooks, and copies of results. One attempt, the ledger, and when to try again."""

import asyncio
import random
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import structlog

from jobs.blobs import BlobMissing, Blobs, request_key, result_key
from jobs.deliveries import COPY_EVENT, Attempt, Deliveries, DueDelivery
from jobs.ending import DAY_MS
from jobs.request import JobRequest
from jobs.result import JobResult
from jobs.settings import Settings
from jobs.store import JobStore
from jobs.webhook_secrets import WebhookSecrets
from worker import result_copy, webhook
from worker.egress import Egress, EgressError
from worker.message import Message

log = structlog.get_logger(__name__)

WAITS_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Between tries; the first one is made at once."""
JITTER = 0.2
MAX_RETRY_AFTER_S = 86_400
PER_HOST = 8
"""A host that stalls holds up only itself."""
GONE = 410


class Deliverer:
    def __init__(
        self, store: JobStore, deliveries: Deliveries, blobs: Blobs, settings: Settings, egress: Egress
    ) -> None:
        self._store = store
        self._deliveries = deliveries
        self._blobs = blobs
        self._settings = settings
        self._egress = egress
        self._secrets = WebhookSecrets(blobs, settings)
        self._hosts: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(PER_HOST))

    async def deliver(self, due: DueDelivery, *, claim: str) -> None:
        """Make one attempt, and settle what follows from it."""
        message = await asyncio.to_thread(self._message, due)
        if message is None:
            await self._settle(due, claim, "abandoned", _failed_attempt("the job has outlived its retention"))
            return
        host = urlsplit(message.url).hostname or ""
        if self._hosts[host].locked():
            return  # still claimed: it comes up again when the claim has run out
        async with self._hosts[host]:
            attempt, retry_after_s = await self._send(message)
        state = verdict(attempt.status, due.attempts + 1)
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
        await self._settle(due, claim, state, attempt, wait_ms=round(wait_s * 1000))

    def _message(self, due: DueDelivery) -> Message | None:
        """None: what it would tell of is gone."""
        try:
            if not due.job_id:
                return webhook.trial_message(due, self._blobs, self._secrets)
            job = self._store.get(due.job_id)
            request = JobRequest.from_json(self._blobs.get(request_key(due.job_id)))
            result = JobResult.from_json(self._blobs.get(result_key(due.job_id)))
        except BlobMissing:
            return None
        if due.event == COPY_EVENT:
            return result_copy.message(due, request, result)
        if job is None:
            return None
        return webhook.message(due, job, request, result, self._blobs, self._secrets)

    async def _send(self, message: Message) -> tuple[Attempt, float]:
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
            return Attempt(at, None, f"{error.code}: {error.message}", 0, ""), 0
        text = reply.body_prefix.decode("utf-8", "replace")
        return Attempt(at, reply.status, None, reply.elapsed_ms, text), retry_after_s(reply.headers)

    async def _settle(self, due: DueDelivery, claim: str, state: Any, attempt: Attempt, *, wait_ms: int = 0) -> None:
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


def retry_after_s(headers: Any) -> float:
    """``Retry-After`` in its seconds form, at most a day; 0 without one."""
    value = str(headers.get("retry-after", ""))
    return float(min(int(value), MAX_RETRY_AFTER_S)) if value.isdigit() else 0.0


def _failed_attempt(reason: str) -> Attempt:
    return Attempt(datetime.now(UTC).isoformat(timespec="milliseconds"), None, reason, 0, "")
