"""Clients that retry until their jobs are accepted, and the receiver of their webhooks."""

import base64
import json
import queue
import random
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from typing import Any, Literal

import httpx

from testing.inputs.request_bodies import FAR_FROM_TIES, SHAPES_PNG, image_part, question

QUESTIONS = ("How many?", "What colour is it?", "Which is the largest?", "Why?", "And then?", "Read it to me.")
TRUNCATED_PICTURE = "data:image/png;base64," + base64.b64encode(SHAPES_PNG[:600]).decode()
TEMPLATES: list[dict[str, Any]] = [
    {
        "messages": question(QUESTIONS[number % len(QUESTIONS)]),
        "thinking": {"budget_tokens": (0, 8, 24, 64)[number % 4]},
        "max_answer_tokens": (4, 12, 24)[number % 3],
        "sampling": {**FAR_FROM_TIES, "seed": number},
    }
    for number in range(12)
]
"""Seeded, and in float32: each has exactly one answer."""
ORDINARY = len(TEMPLATES)
LONG = len(TEMPLATES)
TEMPLATES.append({**TEMPLATES[0], "thinking": {"budget_tokens": 600}, "sampling": {**FAR_FROM_TIES, "seed": 13}})
"""Runs for some seconds, so that a client can cancel it."""
MALFORMED = len(TEMPLATES)
TEMPLATES.append({**TEMPLATES[0], "messages": question("Look.", image_part(TRUNCATED_PICTURE))})
"""Its picture cannot be decoded: the prepare worker fails the job."""

Kind = Literal["ordinary", "cancelled", "limited", "expiring", "malformed"]
"""cancelled: by its client within seconds · limited: may run for one second · expiring: must start within one."""
SHARES: dict[Kind, float] = {"ordinary": 0.75, "cancelled": 0.1, "limited": 0.05, "expiring": 0.05, "malformed": 0.05}
CLIENT_TIMEOUT_S = 240.0
"""A client retries a call for this long."""


class WebhookReceiver:
    def __init__(self) -> None:
        self.ids: defaultdict[str, list[str]] = defaultdict(list)
        """Webhook ids by job, in the order of arrival."""
        self.times: list[float] = []
        """When webhooks arrived, on the monotonic clock."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 20

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.times.append(time.monotonic())
                receiver.ids[body["data"]["id"]].append(self.headers["webhook-id"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Workload:
    """Jobs that several clients submit while faults happen.

    Args:
        urls: of the API's processes; each call goes to the next one.
        webhook_url: receives the event of each job's end.
        seed: chooses the kind and the template of each job.
    """

    def __init__(self, urls: Sequence[str], webhook_url: str, seed: int) -> None:
        self._urls = cycle(urls)
        self._webhook_url = webhook_url
        self._seed = seed
        self.accepted: dict[str, int] = {}
        """Template by job."""
        self.kinds: dict[str, Kind] = {}
        self.cancelled: dict[str, str] = {}
        """Status in the reply to a cancel request, by job."""
        self.refused = 0
        self.admitted = 0
        """How many jobs may have been submitted by now."""
        self._permits = threading.Semaphore(0)
        self._requested_kinds: queue.SimpleQueue[Kind] = queue.SimpleQueue()

    def admit(self, jobs: int, *, with_one: Kind | None = None) -> None:
        """Let clients submit more jobs, which spreads the workload over all faults.

        Args:
            jobs: how many more; at least one.
            with_one: the kind of the next one.
        """
        if with_one:
            self._requested_kinds.put(with_one)
        self.admitted += max(1, jobs)
        self._permits.release(max(1, jobs))

    def submit_all(self, jobs: int, clients: int = 4) -> None:
        """Return when all are accepted. A retry carries the same idempotency key."""
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(self._submit, range(jobs)))

    def _submit(self, number: int) -> None:
        rng = random.Random(f"{self._seed}/{number}")
        self._permits.acquire()
        kind: Kind = rng.choices(tuple(SHARES), tuple(SHARES.values()))[0]
        with suppress(queue.Empty):
            kind = self._requested_kinds.get_nowait()
        template = {"cancelled": LONG, "limited": LONG, "malformed": MALFORMED}.get(kind, rng.randrange(ORDINARY))
        events = ["job.completed", "job.failed", "job.cancelled", "job.expired"]
        body = {**TEMPLATES[template], "callback": {"url": self._webhook_url, "events": events}}
        body |= {"limited": {"max_run_seconds": 1}, "expiring": {"expires_in": 1}}.get(kind, {})
        headers = {"Idempotency-Key": f"{self._seed}-{number}"}
        job_id = self._call("POST", "/v1/jobs", {202}, json=body, headers=headers)["id"]
        self.accepted[job_id], self.kinds[job_id] = template, kind
        if kind == "cancelled":
            time.sleep(rng.uniform(0, 3))
            self.cancelled[job_id] = self._call("POST", f"/v1/jobs/{job_id}/cancel", {200})["status"]

    def _call(self, method: str, path: str, expected: set[int], **more: Any) -> dict[str, Any]:
        give_up = time.monotonic() + CLIENT_TIMEOUT_S
        while True:
            try:
                reply = httpx.request(method, next(self._urls) + path, timeout=5, verify=False, **more)
                if reply.status_code in expected:
                    return dict(reply.json())
                problem = f"{reply.status_code} {reply.text[:200]}"
                assert reply.status_code in (429, 503), problem
            except httpx.TransportError as error:
                problem = repr(error)
            assert time.monotonic() < give_up, f"{method} {path}: {problem}"
            self.refused += 1
            time.sleep(0.5)
