"""Clients that do not give up, and the receiver of their webhooks."""

import base64
import json
import queue
import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import httpx

from testing.request_bodies import FAR_FROM_TIES, image_part, question

QUESTIONS = ("How many?", "What colour is it?", "Which is the largest?", "Why?", "And then?", "Read it to me.")
PICTURE = (Path(__file__).parents[2] / "cli" / "commands" / "shapes.png").read_bytes()
CUT_PICTURE = "data:image/png;base64," + base64.b64encode(PICTURE[:600]).decode()
TEMPLATES: list[dict[str, Any]] = [
    {
        "messages": question(QUESTIONS[number % len(QUESTIONS)]),
        "thinking": {"budget_tokens": (0, 8, 24, 64)[number % 4]},
        "max_answer_tokens": (4, 12, 24)[number % 3],
        "sampling": {**FAR_FROM_TIES, "seed": number},
    }
    for number in range(12)
]
"""Seeded, and in float32: each has one answer."""
ORDINARY = len(TEMPLATES)
LONG = len(TEMPLATES)
TEMPLATES.append({**TEMPLATES[0], "thinking": {"budget_tokens": 600}, "sampling": {**FAR_FROM_TIES, "seed": 11}})
"""Some seconds: time for a client to think better of it."""
BROKEN = len(TEMPLATES)
TEMPLATES.append({**TEMPLATES[0], "messages": question("Look.", image_part(CUT_PICTURE))})
"""Its picture cannot be read: the prepare worker ends it."""

Kind = Literal["ordinary", "unwanted", "limited", "expiring", "broken"]
"""unwanted: cancelled within seconds · limited: may run for a second · expiring: has to start within one."""
SHARES: dict[Kind, float] = {"ordinary": 0.75, "unwanted": 0.1, "limited": 0.05, "expiring": 0.05, "broken": 0.05}
PATIENCE_S = 240.0


class Receiver:
    def __init__(self) -> None:
        self.ids: defaultdict[str, list[str]] = defaultdict(list)
        """Webhook ids by job, as they came in."""
        self.times: list[float] = []
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


class Crowd:
    def __init__(self, url: str, hook: str, seed: int) -> None:
        self._url = url
        self._hook = hook
        self._seed = seed
        self.accepted: dict[str, int] = {}
        """Template by job."""
        self.kinds: dict[str, Kind] = {}
        self.cancelled: dict[str, str] = {}
        """What a cancel was answered with, by job."""
        self.refused = 0
        self.let = 0
        """So many were let in."""
        self._permits = threading.Semaphore(0)
        self._orders: queue.SimpleQueue[Kind] = queue.SimpleQueue()

    def let_in(self, jobs: int, *, with_one: Kind | None = None) -> None:
        """So many more may be handed in now: they are to meet all of the faults."""
        if with_one:
            self._orders.put(with_one)
        self.let += max(1, jobs)
        self._permits.release(max(1, jobs))

    def hand_in(self, jobs: int, clients: int = 4) -> None:
        """Until every one is accepted: a repeat carries the same key."""
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(self._one, range(jobs)))

    def _one(self, number: int) -> None:
        rng = random.Random(f"{self._seed}/{number}")
        self._permits.acquire()
        kind: Kind = rng.choices(tuple(SHARES), tuple(SHARES.values()))[0]
        with suppress(queue.Empty):
            kind = self._orders.get_nowait()
        template = {"unwanted": LONG, "limited": LONG, "broken": BROKEN}.get(kind, rng.randrange(ORDINARY))
        events = ["job.completed", "job.failed", "job.cancelled", "job.expired"]
        body = {**TEMPLATES[template], "callback": {"url": self._hook, "events": events}}
        body |= {"limited": {"max_run_seconds": 1}, "expiring": {"expires_in": 1}}.get(kind, {})
        headers = {"Idempotency-Key": f"{self._seed}-{number}"}
        job_id = self._call("POST", "/v1/jobs", {202}, json=body, headers=headers)["id"]
        self.accepted[job_id], self.kinds[job_id] = template, kind
        if kind == "unwanted":
            time.sleep(rng.uniform(0, 3))
            self.cancelled[job_id] = self._call("POST", f"/v1/jobs/{job_id}/cancel", {200})["status"]

    def _call(self, method: str, path: str, wanted: set[int], **more: Any) -> dict[str, Any]:
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                reply = httpx.request(method, self._url + path, timeout=5, verify=False, **more)
                if reply.status_code in wanted:
                    return dict(reply.json())
                said = f"{reply.status_code} {reply.text[:200]}"
                assert reply.status_code in (429, 503), said
            except httpx.TransportError as error:
                said = repr(error)
            assert time.monotonic() < give_up, f"{method} {path}: {said}"
            self.refused += 1
            time.sleep(0.5)
