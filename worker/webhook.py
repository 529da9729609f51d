"""Webhooks: sign, POST, write down, and try again (Standard Webhooks 1.0.0)."""

import asyncio
import json
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import structlog
from standardwebhooks import Webhook

from jobs.blobs import BlobMissing, Blobs, request_key, result_key
from jobs.deliveries import Attempt, Deliveries, DueDelivery, trial_key
from jobs.ending import DAY_MS
from jobs.request import JobRequest
from jobs.result import JobResult
from jobs.settings import Settings
from jobs.store import JobStore
from jobs.view import public_job
from jobs.webhook_secrets import WebhookSecrets
from worker.egress import Egress, EgressError

log = structlog.get_logger(__name__)

WAITS_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Between tries; the first one is made at once."""
JITTER = 0.2
MAX_RETRY_AFTER_S = 86_400
MAX_BODY_BYTES = 20_000
"""Receivers refuse large bodies; what is over it is left out by name, and a poll has it."""
PER_HOST = 8
"""A host that stalls holds up only itself."""
GONE = 410


@dataclass(frozen=True)
class Message:
    """What is sent where, and who vouches for it."""

    url: str
    body: str
    secrets: list[str]


class Webhooks:
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
            attempt, retry_after_s = await self._post(due, message)
        state = verdict(attempt.status, due.attempts + 1)
        wait_s = max(next_wait_s(due.attempts + 1), retry_after_s) * self._settings.webhook_schedule_scale
        log.info(
            f"webhook.{'retrying' if state == 'pending' else state}",
            job_id=due.job_id,
            event_type=due.event,
            host=host,
            attempt=due.attempts + 1,
            status=attempt.status,
            error=attempt.error,
        )
        await self._settle(due, claim, state, attempt, wait_ms=round(wait_s * 1000))

    def _message(self, due: DueDelivery) -> Message | None:
        try:
            if not due.job_id:
                trial = self._blobs.get_json(trial_key(due.id))
                return Message(trial["url"], trial_body(due, trial), self._secrets.signing(trial["tenant"]))
            job = self._store.get(due.job_id)
            request = JobRequest.from_json(self._blobs.get(request_key(due.job_id)))
            result = JobResult.from_json(self._blobs.get(result_key(due.job_id)))
        except BlobMissing:
            return None
        if job is None or request.callback is None:
            return None
        body = webhook_body(due, public_job(job, request, result, self._blobs))
        return Message(request.callback.url, body, self._secrets.signing(job.tenant))

    async def _post(self, due: DueDelivery, message: Message) -> tuple[Attempt, float]:
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": due.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(
                Webhook(secret).sign(due.id, now, message.body) for secret in message.secrets
            ),
        }
        at = now.isoformat(timespec="milliseconds")
        try:
            reply = await self._egress.post(
                message.url, body=message.body.encode(), headers=headers, timeout_s=self._settings.webhook_timeout_s
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


def trial_body(due: DueDelivery, trial: dict[str, Any]) -> str:
    """An event that only tries a receiver: shaped as a real one, of a job that never was."""
    event = {
        "id": due.id,
        "object": "event",
        "type": due.event,
        "created_at": trial["created_at"],
        "timestamp": datetime.fromtimestamp(trial["created_at"], UTC).isoformat(),
        "data": {"id": "job_test", "object": "job", "status": due.event.removeprefix("job."), "test": True},
    }
    return json.dumps(event)


def webhook_body(due: DueDelivery, job: dict[str, Any]) -> str:
    """The event: the public job, as a poll would answer it, in at most 20 kB.

    What does not fit is null and named in ``data.omitted``.
    """
    event = {
        "id": due.id,
        "object": "event",
        "type": due.event,
        "created_at": job["ended_at"],
        "timestamp": datetime.fromtimestamp(job["ended_at"], UTC).isoformat(),
        "data": {**job, "omitted": []},
    }
    for path in (("output", "thinking"), ("output", "answer"), ("media",), ("metadata",)):
        text = json.dumps(event, ensure_ascii=False)
        if len(text.encode()) <= MAX_BODY_BYTES:
            return text
        _omit(event["data"], path)
    return json.dumps(event, ensure_ascii=False)


def _omit(data: dict[str, Any], path: tuple[str, ...]) -> None:
    *parents, last = path
    for parent in parents:
        if not data[parent]:
            return
        data[parent] = {**data[parent]}
    target = data[parents[0]] if parents else data
    target[last] = None
    data["omitted"].append(".".join(path))


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
