"""The service as the command line talks to it: its HTTP API, with patience."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from cli.errors import CommandError, Unreachable
from cli.local.installation import Installation
from cli.local.state import DEFAULT_STATE

Url = Annotated[
    str, typer.Option("--url", envvar="THINKQUEUE_URL", help="Of the service; else what runs here, else port 8800.")
]
DEFAULT_URL = "http://127.0.0.1:8800"
API_KEY = "THINKQUEUE_API_KEY"
"""An environment variable and no option: a command line can be read by every user."""

MAY_PASS = (429, 502, 503, 504)
"""Answers of a service that is full, or away behind a proxy."""
TRIES = 6
"""Of one call, with 0.5 to 8 seconds between them."""
LONGEST_PAUSE_S = 60.0
POLL_S = 2.0


class Refused(Exception):
    """The service said no; the message is its own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Heard:
    """One event of a job's stream; ``id`` is None for those that tell of the present."""

    event: str
    data: dict[str, Any]
    id: int | None


class Client:
    """Safe to share between threads. Every method raises Refused, and CommandError when the service does not answer."""

    def __init__(self, url: str = "", *, state: Path = DEFAULT_STATE, connections: int = 20) -> None:
        running = None if url else Installation(state.resolve()).running()
        self.url = (url or (running.url if running else "") or DEFAULT_URL).rstrip("/")
        key = os.environ.get(API_KEY, "")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(30, read=90),
            limits=httpx.Limits(max_connections=connections),
        )

    def submit(self, body: dict[str, Any], *, idempotency_key: str, wait_s: int = 0) -> dict[str, Any]:
        """Hand in a job. Repeated until it is in: the key makes that safe."""
        headers = {"Idempotency-Key": idempotency_key}
        if wait_s:
            headers["Prefer"] = f"wait={wait_s}"
        return self._call("POST", "/v1/jobs", json=body, headers=headers)

    def job(self, job_id: str) -> dict[str, Any]:
        return self._call("GET", f"/v1/jobs/{job_id}")

    def jobs(self, **query: Any) -> dict[str, Any]:
        """One page of the caller's jobs."""
        return self._call("GET", "/v1/jobs", params=query)

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self._call("POST", f"/v1/jobs/{job_id}/cancel")

    def upload(self, path: Path) -> str:
        """Send a file; returns the URL that a job may name it by."""
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
        """A link that the service handed out."""
        draft = path.with_name(path.name + ".part")
        try:
            with httpx.stream("GET", url, timeout=60) as reply, draft.open("wb") as file:
                if reply.status_code != 200:
                    raise Refused(reply.status_code, "object_store", f"{path.name} is answered {reply.status_code}")
                for piece in reply.iter_bytes():
                    file.write(piece)
        except httpx.HTTPError as error:
            draft.unlink(missing_ok=True)
            raise CommandError(
                f"{path.name} cannot be fetched ({error}). Links name S3_PUBLIC_ENDPOINT; this machine must reach it."
            ) from error
        draft.rename(path)

    def events(self, job_id: str) -> Iterator[Heard]:
        """A job's events until its end, over broken connections; where no stream can be had, from polls."""
        last, failures = None, 0
        while True:
            try:
                for heard in self._stream(job_id, last):
                    last, failures = heard.id or last, 0
                    yield heard
                    if "job" in heard.data:
                        return
            except Refused as error:
                if error.status != 429:
                    raise
                yield from self._polled(job_id)
                return
            except httpx.HTTPError as error:
                failures += 1
                if failures >= TRIES:
                    raise self._unreachable(error) from error
            time.sleep(_pause(failures))

    def _stream(self, job_id: str, last: int | None) -> Iterator[Heard]:
        headers = {} if last is None else {"Last-Event-ID": str(last)}
        with self._http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as reply:
            if reply.status_code != 200:
                reply.read()
                raise _refusal(reply)
            fields: dict[str, str] = {}
            for line in reply.iter_lines():
                name, _, value = line.partition(": ")
                if line and name:  # a comment, which keeps the connection open, has no name
                    fields[name] = value
                elif "event" in fields:
                    event_id = fields.get("id")
                    yield Heard(fields["event"], json.loads(fields["data"]), int(event_id) if event_id else None)
                    fields = {}

    def _polled(self, job_id: str) -> Iterator[Heard]:
        while (job := self.job(job_id))["ended_at"] is None:
            state = {"status": job["status"], "position": job["position"], "media": None}
            yield Heard("job.status", state, None)
            time.sleep(POLL_S)
        yield Heard(f"job.{job['status']}", {"job": {key: job[key] for key in ("id", "status", "error")}}, None)

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Repeats what may pass: a server that is away, a limit that was reached."""
        failures = 0
        while True:
            try:
                reply = self._http.request(method, path, **options)
            except httpx.HTTPError as error:
                failures += 1
                if failures >= TRIES:
                    raise self._unreachable(error) from error
                time.sleep(_pause(failures))
                continue
            if reply.is_success:
                answer: dict[str, Any] = reply.json()
                return answer
            failures += 1
            refusal = _refusal(reply)
            if reply.status_code not in MAY_PASS or failures >= TRIES:
                raise refusal
            time.sleep(max(_pause(failures), _retry_after(reply)))

    def _put(self, url: str, data: bytes) -> str:
        """To the object store; returns the ETag."""
        try:
            reply = httpx.put(url, content=data, timeout=120)
        except httpx.HTTPError as error:
            raise Unreachable(
                f"An upload failed ({error}). Its link names S3_PUBLIC_ENDPOINT; this machine must reach it."
            ) from error
        if not reply.is_success:
            raise Refused(reply.status_code, "object_store", f"an upload is answered {reply.status_code}")
        return str(reply.headers.get("etag", "")).strip('"')

    def _unreachable(self, error: httpx.HTTPError) -> Unreachable:
        return Unreachable(
            f"{self.url} does not answer ({type(error).__name__}: {error}). Start it with `thinkqueue up`, or name "
            "the service with --url or THINKQUEUE_URL."
        )


def _refusal(reply: httpx.Response) -> Refused:
    try:
        body = reply.json()
        code, message = str(body["code"]), str(body["detail"])
    except (ValueError, KeyError, TypeError):
        code, message = f"http_{reply.status_code}", reply.text[:200]
    if reply.status_code == 401:
        message += f" Set {API_KEY}."
    return Refused(reply.status_code, code, message)


def _retry_after(reply: httpx.Response) -> float:
    value = reply.headers.get("retry-after", "")
    return min(float(value), LONGEST_PAUSE_S) if value.isdecimal() else 0.0


def _pause(failures: int) -> float:
    return float(min(0.25 * 2**failures, 8))
