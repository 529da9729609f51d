"""How a request becomes a job: check, store its media, store the request, create the record, ring.

The order is the promise: when the client hears 202, all that is needed to rebuild the job is durable.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

import structlog
from ulid import ULID

from api.schemas import ImagePart, JobBody, Message
from jobs.bells import ring
from jobs.blobs import BlobMissing, Blobs, job_folder, request_key, result_key
from jobs.errors import IdempotencyConflict, Invalid, NotFound, Problem, StoreUnavailable
from jobs.record import Job, Stage
from jobs.request import Callback, JobRequest
from jobs.settings import Settings
from jobs.store import JobStore

log = structlog.get_logger(__name__)

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True)
class Accepted:
    job: Job
    request: JobRequest
    replayed: bool
    """The job was there already, under the same Idempotency-Key."""


class Intake:
    def __init__(self, store: JobStore, blobs: Blobs, settings: Settings) -> None:
        self._store = store
        self._blobs = blobs
        self._settings = settings

    def accept(self, body: JobBody, *, tenant: str, idempotency_key: str | None) -> Accepted:
        """Make a job of a valid body.

        Raises:
            Invalid: it cannot be done on this model.
            IdempotencyConflict: the key was used for another body.
            Overloaded: no more jobs may come in now.
            Unavailable, NotInitialised: nothing was accepted; the same request may be sent again.
        """
        self._check_against_family(body)
        self._store.check(max_waiting=self._settings.max_waiting_jobs)
        job_id = f"job_{ULID()}" if idempotency_key is None else keyed_job_id(tenant, idempotency_key)
        request = self._request(job_id, body, tenant)
        replayed = False
        if not self._blobs.put_if_absent(request_key(job_id), request.to_json()):
            request = self._earlier(request)
            replayed = True
        events = request.callback.events if request.callback else ()
        self._store.accept(job_id, tenant=tenant, lane=request.lane, expires_ms=request.expires_ms, events=events)
        self._ring()
        job = self._store.get(job_id)
        if job is None:
            raise NotFound
        if not replayed:
            log.info("job.accepted", job_id=job_id, tenant=tenant, images=_count_images(body))
        return Accepted(job, request, replayed)

    def _check_against_family(self, body: JobBody) -> None:
        family = self._settings.family
        if (images := _count_images(body)) > family.max_images:
            _refuse("/messages", f"has {images} pictures; {family.name} takes {family.max_images}")
        answer = body.max_answer_tokens or family.max_answer_tokens
        budget = max(body.thinking.budget_tokens, 0) if body.thinking else 0
        if answer + budget >= family.context_tokens:
            _refuse(
                "/max_answer_tokens" if answer >= family.context_tokens else "/thinking/budget_tokens",
                f"thinking ({budget}) and answer ({answer}) leave no room for a prompt "
                f"in the model's {family.context_tokens} tokens; ask for less",
            )

    def _request(self, job_id: str, body: JobBody, tenant: str) -> JobRequest:
        family, sampling = self._settings.family, body.sampling.model_dump(exclude_none=True)
        seed = sampling.pop("seed", None)
        canonical = json.dumps(body.model_dump(exclude_unset=True), sort_keys=True).encode()
        return JobRequest(
            id=job_id,
            tenant=tenant,
            lane="default",
            created_ms=time.time_ns() // 1_000_000,
            expires_ms=self._settings.job_expires_s * 1000,
            fingerprint=hashlib.sha256(canonical).hexdigest(),
            messages=[self._message(job_id, index, message) for index, message in enumerate(body.messages)],
            thinking_budget=body.thinking.budget_tokens if body.thinking else family.thinking_budget,
            max_answer_tokens=body.max_answer_tokens or family.max_answer_tokens,
            sampling=sampling,
            seed=secrets.randbits(53) if seed is None else seed,
            callback=(
                Callback(body.callback.url, tuple(name.removeprefix("job.") for name in body.callback.events))
                if body.callback
                else None
            ),
            metadata=body.metadata,
        )

    def _message(self, job_id: str, index: int, message: Message) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        for number, part in enumerate(message.content):
            if not isinstance(part, ImagePart):
                parts.append({"type": "text", "text": part.text})
            elif part.image_url.url[:5].lower() == "data:":
                where = f"/messages/{index}/content/{number}/image_url/url"
                parts.append({"type": "image", "key": self._store_inline(job_id, part.image_url.url, where)})
            else:
                parts.append({"type": "image", "url": part.image_url.url})
        return {"role": message.role, "content": parts}

    def _store_inline(self, job_id: str, url: str, where: str) -> str:
        """Put a ``data:`` URL's bytes beside the job. Named by content, so that a repeat overwrites nothing."""
        data = decode_data_url(url, where)
        if len(data) > self._settings.max_image_bytes:
            _refuse(where, f"has {len(data)} bytes; the limit is {self._settings.max_image_bytes}")
        key = f"{job_folder(job_id)}/media/{hashlib.sha256(data).hexdigest()[:32]}"
        self._blobs.put(key, data)
        return key

    def _earlier(self, request: JobRequest) -> JobRequest:
        """The request that took this id before; it may have died before its record was made."""
        try:
            earlier = JobRequest.from_json(self._blobs.get(request_key(request.id)))
        except BlobMissing as error:
            raise NotFound from error
        if earlier.fingerprint != request.fingerprint:
            raise IdempotencyConflict
        if self._store.get(request.id) is None and not self._blobs.is_empty(result_key(request.id)):
            raise IdempotencyConflict("The job of this Idempotency-Key has outlived its retention; send a new key.")
        return earlier

    def _ring(self) -> None:
        try:
            ring(self._store, Stage.PREPARE)
        except StoreUnavailable:
            log.warning("bell.missed", stage=Stage.PREPARE)  # the job is in; the keeper rings


def keyed_job_id(tenant: str, idempotency_key: str) -> str:
    """The same id for the same key, so that a retry after a lost reply meets the job that it made."""
    digest = hmac.new(tenant.encode(), idempotency_key.encode(), hashlib.sha256).digest()
    number = int.from_bytes(digest[:16])
    return "job_" + "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -5, -5))


def decode_data_url(url: str, where: str) -> bytes:
    """The bytes of a ``data:`` URL (RFC 2397)."""
    head, comma, payload = url.partition(",")
    if not comma:
        _refuse(where, "is not a data: URL: it has no comma")
    raw = unquote_to_bytes(payload)
    if not head.lower().endswith(";base64"):
        return raw
    try:
        return base64.b64decode(raw, validate=True)
    except binascii.Error:
        _refuse(where, "is marked base64 but is not; check padding and line breaks")


def _refuse(where: str, message: str) -> NoReturn:
    raise Invalid([Problem(where, message)])


def _count_images(body: JobBody) -> int:
    return sum(isinstance(part, ImagePart) for message in body.messages for part in message.content)
