"""HTTP client of the service, with retries."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cli.errors import ApiError, CommandError, Unreachable

DEFAULT_URL = "http://127.0.0.1:8800"
API_KEY = "THINKQUEUE_API_KEY"
"""An environment variable and not an option: every user of a machine can read command lines."""

RETRYABLE = (429, 502, 503, 504)
"""Statuses of a service that is full, or unreachable through its proxy."""
ATTEMPTS = 6
"""Of one call, with 0.5 to 8 seconds between them."""
CONNECT_TIMEOUT_S = 1.5
MAX_RETRY_AFTER_S = 60.0
POLL_INTERVAL_S = 2.0


def exponential_backoff(failures: int) -> float:
    """Return the seconds to wait after a number of failures: 0.5, 1, 2 and so on up to 8."""
    return float(min(0.25 * 2**failures, 8))


@dataclass(frozen=True)
class SseEvent:
    """One event of a job's stream. ``id`` is None for events that only describe the current state."""

    event: str
    data: dict[str, Any]
    id: int | None


class ApiClient:
    """Safe to share between threads.

    Every method raises ApiError when the service refuses, and Unreachable when it does not answer: at once if it never
    answered this client, because then the address may be wrong; otherwise after ``attempts`` attempts.

    Args:
        url: address of the service.
        connections: largest number of connections at once.
        attempts: of each call.
        backoff: returns the seconds to wait after a number of failures.

    Raises:
        CommandError: the address is not an http or https URL.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 20,
        attempts: int = ATTEMPTS,
        backoff: Callable[[int], float] = exponential_backoff,
    ) -> None:
        self.url = url.rstrip("/")
        _check_address(self.url)
        self._attempts = attempts
        self._backoff = backoff
        key = os.environ.get(API_KEY, "")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(30, read=90, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=connections),
        )
        self._has_answered = False

    def close(self) -> None:
        self._http.close()

    def submit(self, body: dict[str, Any], *, idempotency_key: str, wait_s: int = 0) -> dict[str, Any]:
        """Submit a job. The idempotency key makes retries safe."""
        headers = {"Idempotency-Key": idempotency_key}
        if wait_s:
            headers["Prefer"] = f"wait={wait_s}"
        return self._call("POST", "/v1/jobs", json=body, headers=headers)

    def job(self, job_id: str) -> dict[str, Any]:
        return self._call("GET", f"/v1/jobs/{job_id}")

    def jobs(self, **query: Any) -> dict[str, Any]:
        """Return one page of the caller's jobs."""
        return self._call("GET", "/v1/jobs", params=query)

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self._call("POST", f"/v1/jobs/{job_id}/cancel")

    def upload(self, path: Path) -> str:
        """Upload a file. Returns the URL by which a job's body refers to it."""
        size = path.stat().st_size
        upload = self._call("POST", "/v1/uploads", json={"bytes": size})
        with path.open("rb") as file:
            if upload["url"]:
                self._put(upload["url"], file.read())
            else:
                parts = [self._put(url, file.read(upload["part_bytes"])) for url in upload["part_urls"]]
                self._call("POST", f"/v1/uploads/{upload['id']}/complete", json={"etags": parts})
        return f"upload:{upload['id']}"

    def download(self, url: str, path: Path) -> None:
        """Download a presigned URL of a result."""
        draft = path.with_name(path.name + ".part")
        try:
            with httpx.stream("GET", url, timeout=60) as reply, draft.open("wb") as file:
                if reply.status_code != 200:
                    raise ApiError(reply.status_code, "object_store", f"GET {path.name} returned {reply.status_code}")
                for chunk in reply.iter_bytes():
                    file.write(chunk)
        except httpx.HTTPError as error:
            draft.unlink(missing_ok=True)
            raise CommandError(
                f"{path.name} cannot be downloaded ({error}). This machine must reach S3_PUBLIC_ENDPOINT."
            ) from error
        draft.rename(path)

    def events(self, job_id: str) -> Iterator[SseEvent]:
        """Yield a job's events until it ends. Reconnects; polls instead if the service allows no further stream."""
        last_id, failures = None, 0
        while True:
            try:
                for event in self._stream(job_id, last_id):
                    last_id, failures = event.id or last_id, 0
                    yield event
                    if "job" in event.data:
                        return
            except ApiError as error:
                if error.status != 429:
                    raise
                yield from self._poll(job_id)
                return
            except httpx.HTTPError as error:
                failures += 1
                if self._gives_up(error, failures):
                    raise self._unreachable(error) from error
            time.sleep(self._backoff(failures))

    def _stream(self, job_id: str, last_id: int | None) -> Iterator[SseEvent]:
        headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
        with self._http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as reply:
            self._has_answered = True
            if reply.status_code != 200:
                reply.read()
                raise _api_error(reply)
            fields: dict[str, str] = {}
            for line in reply.iter_lines():
                name, _, value = line.partition(": ")
                if line and name:  # a comment, which keeps the connection open, has no name
                    fields[name] = value
                elif "event" in fields:
                    event_id = fields.get("id")
                    yield SseEvent(fields["event"], json.loads(fields["data"]), int(event_id) if event_id else None)
                    fields = {}

    def _poll(self, job_id: str) -> Iterator[SseEvent]:
        while (job := self.job(job_id))["ended_at"] is None:
            state = {"status": job["status"], "position": job["position"], "media": None}
            yield SseEvent("job.status", state, None)
            time.sleep(POLL_INTERVAL_S)
        yield SseEvent(f"job.{job['status']}", {"job": {key: job[key] for key in ("id", "status", "error")}}, None)

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Make a call, and repeat it while the service is unreachable or full."""
        failures = 0
        while True:
            try:
                reply = self._http.request(method, path, **options)
            except httpx.HTTPError as error:
                failures += 1
                if self._gives_up(error, failures):
                    raise self._unreachable(error) from error
                time.sleep(self._backoff(failures))
                continue
            self._has_answered = True
            if reply.is_success:
                answer: dict[str, Any] = reply.json()
                return answer
            failures += 1
            if reply.status_code not in RETRYABLE or failures >= self._attempts:
                raise _api_error(reply)
            time.sleep(max(self._backoff(failures), _retry_after(reply)))

    def _put(self, url: str, data: bytes) -> str:
        """Upload to the object store. Returns the ETag."""
        try:
            reply = httpx.put(url, content=data, timeout=120)
        except httpx.HTTPError as error:
            raise Unreachable(
                f"An upload failed ({error}). Its URL names S3_PUBLIC_ENDPOINT; this machine must reach it."
            ) from error
        if not reply.is_success:
            raise ApiError(reply.status_code, "object_store", f"an upload returned {reply.status_code}")
        return str(reply.headers.get("etag", "")).strip('"')

    def _gives_up(self, error: httpx.HTTPError, failures: int) -> bool:
        never_connected = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not self._has_answered
        return never_connected or failures >= self._attempts

    def _unreachable(self, error: httpx.HTTPError) -> Unreachable:
        return Unreachable(
            f"{self.url} does not answer ({type(error).__name__}: {error}). Start the service with `thinkqueue up`, or "
            "set its address with --url or THINKQUEUE_URL."
        )


def _check_address(url: str) -> None:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise CommandError(f"{url} is not a URL ({error}); set --url or THINKQUEUE_URL to http://HOST:PORT.") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise CommandError(f"{url} is not an http or https URL; set --url or THINKQUEUE_URL to http://HOST:PORT.")


def _api_error(reply: httpx.Response) -> ApiError:
    try:
        body = reply.json()
        code, message = str(body["code"]), str(body["detail"])
    except (ValueError, KeyError, TypeError):
        code, message = f"http_{reply.status_code}", reply.text[:200]
    if reply.status_code == 401:
        message += f" Set {API_KEY}."
    return ApiError(reply.status_code, code, message)


def _retry_after(reply: httpx.Response) -> float:
    value = reply.headers.get("retry-after", "")
    return min(float(value), MAX_RETRY_AFTER_S) if value.isdecimal() else 0.0
