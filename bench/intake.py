"""Measure what accepting a job costs, compared with the same app that only stores the request.

    python -m bench.intake

Two api processes run the same app and route on the same SeaweedFS with fsync. One stores the request and stops there;
the other also checks limits, creates the record and decides about a wake-up. It gets the same job by ``/v1/responses``
(``background``), too. Rounds alternate. Then the latency at half of that throughput, with requests at fixed times
(open loop); then how fast an idle worker claims an accepted job.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from api.app import create_app
from api.intake.media import MediaIntake
from api.intake.service import Admission, Intake
from cli.local.servers import SeaweedFS, Valkey
from jobs.lifecycle.bootstrap import initialize
from jobs.model.documents.request import JobRequest
from jobs.model.job import Job
from jobs.table import keys
from jobs.table.scripts import connect
from jobs.table.types import AcceptResult
from runtime.settings import Settings
from runtime.telemetry.logs import configure_logs
from testing.processes.servers import SECRET_KEY, Servers, free_ports, settings_of, start, stop

URL, QUESTION = "https://example.com/chart.png", "Which quarter fell, and by how much? " * 20
JOB = {
    "messages": [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": URL}}, {"type": "text", "text": QUESTION}],
        }
    ],
    "thinking": {"budget_tokens": 256},
    "metadata": {"order": "A-17"},
}
RESPONSE = {
    "model": "pocket",
    "background": True,
    "input": [
        {
            "role": "user",
            "content": [{"type": "input_image", "image_url": URL}, {"type": "input_text", "text": QUESTION}],
        }
    ],
    "thinking": {"budget_tokens": 256},
    "metadata": {"order": "A-17"},
}
SHORT = {"messages": [{"role": "user", "content": "Hi."}], "thinking": {"budget_tokens": 0}, "max_answer_tokens": 1}
CLIENTS = 16
ROUNDS = 7
ROUND_S = 4.0
STEADY_S = 20.0
CLAIMS = 150


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, started_servers(Path(folder)) as servers:
        with (
            service(servers.environment(), Path(folder), "bench.intake put") as put,
            service(servers.environment(), Path(folder), "api") as ours,
        ):
            asyncio.run(throughput_and_latency(ours.api_port, put.api_port))
        idle = servers.environment(database=1, bucket="idle")
        with service(idle, Path(folder), "api", "worker.prepare", "worker.generate") as settings:
            claims(settings)


@dataclass(frozen=True)
class Call:
    port: int
    path: str
    body: dict[str, Any]
    status: int
    """Of the expected response."""


async def throughput_and_latency(ours: int, put: int) -> None:
    stored, full = Call(put, "/v1/jobs", JOB, 202), Call(ours, "/v1/jobs", JOB, 202)
    calls = {
        "store request only": stored,
        "full intake": full,
        "/v1/responses": Call(ours, "/v1/responses", RESPONSE, 200),
    }
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        await closed_loop(call, 1.0)
    for number in range(ROUNDS):
        for name in list(calls)[:: 1 if number % 2 else -1]:
            rates[name].append(await closed_loop(calls[name], ROUND_S))
    print(f"throughput, {CLIENTS} clients, median of {ROUNDS} rounds of {ROUND_S:.0f} s")
    print(f"  store request only  {statistics.median(rates['store request only']):6.0f} requests/s")
    for name, base in (("full intake", "store request only"), ("/v1/responses", "full intake")):
        ratio = statistics.median(one / other for one, other in zip(rates[name], rates[base], strict=True))
        print(f"  {name:18}  {statistics.median(rates[name]):6.0f} requests/s   {ratio:.2f} of {base}")
    half = statistics.median(rates["full intake"]) / 2
    print(f"latency at {half:.0f} requests/s: {quantiles(await open_loop(full, half, STEADY_S))}")


async def closed_loop(call: Call, seconds: float) -> float:
    """Return requests per second of clients that each wait for their response."""
    give_up, done = time.perf_counter() + seconds, 0

    async def client() -> None:
        nonlocal done
        async with connection(call) as post:
            while time.perf_counter() < give_up:
                await post()
                done += 1

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return done / (time.perf_counter() - began)


async def open_loop(call: Call, rate: float, seconds: float) -> list[float]:
    """Return the latency in ms of each request, from the time it was due."""
    times: list[float] = []
    numbers = count()
    began = time.perf_counter()

    async def client() -> None:
        async with connection(call) as post:
            while (due := next(numbers) / rate) < seconds:
                await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
                await post()
                times.append(1000 * (time.perf_counter() - began - due))

    await asyncio.gather(*(client() for _ in range(4 * CLIENTS)))
    return times


@asynccontextmanager
async def connection(call: Call) -> AsyncIterator[Any]:
    """A minimal HTTP client: httpx would use more CPU than the service."""
    reader, writer = await asyncio.open_connection("127.0.0.1", call.port)
    body = json.dumps(call.body).encode()
    lines = [
        f"POST {call.path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    request = "\r\n".join([*lines, "", ""]).encode() + body

    async def post() -> None:
        writer.write(request)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(answer.partition("content-length: ")[2].partition("\r")[0])
        content = await reader.readexactly(length)
        assert answer.startswith(f"http/1.1 {call.status}"), (answer, content)

    try:
        yield post
    finally:
        writer.close()


def claims(settings: Settings) -> None:
    """Print the time from the 202 to the prepare worker's claim, and from prepared to the generate worker's claim."""
    redis = connect(settings)
    url = f"http://127.0.0.1:{settings.api_port}"
    with httpx.Client(base_url=url, timeout=30) as http:
        while http.get("/healthz").json()["workers"].keys() < {"prepare", "generate"}:
            time.sleep(0.2)
        prepare: list[float] = []
        generate: list[float] = []
        for number in range(CLAIMS + 5):
            job_id = http.post("/v1/jobs", json=SHORT).json()["id"]
            answered = time.perf_counter()
            # The claim is set when the job is claimed, and cleared when it enters the next stage's queue.
            while redis.hget(keys.job(job_id), "claim") == "" and not redis.hexists(keys.job(job_id), "prepared_ms"):
                pass
            took = 1000 * (time.perf_counter() - answered)
            while not redis.hexists(keys.job(job_id), "ended_ms"):
                time.sleep(0.005)
            row = redis.hmget(keys.job(job_id), ["prepared_ms", "started_ms"])
            if number >= 5:
                prepare.append(took)
                generate.append(float(row[1] or 0) - float(row[0] or 0))
            time.sleep(0.05 + 0.002 * (number % 50))
    print(f"202 → claimed by the idle prepare worker:   {quantiles(prepare)}")
    print(f"prepared → claimed by the idle generate worker: {quantiles(generate)}")


def quantiles(times: list[float]) -> str:
    ordered = sorted(times)
    found = {name: ordered[min(len(ordered) - 1, int(part * len(ordered)))] for name, part in QUANTILES.items()}
    return "  ".join(f"{name} {value:.1f} ms" for name, value in found.items()) + f"  (n = {len(ordered)})"


QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


@contextmanager
def started_servers(folder: Path) -> Iterator[Servers]:
    servers = Servers(
        Valkey(folder / "valkey", free_ports(), "bench-password"),
        SeaweedFS(folder / "seaweedfs", free_ports(5), "bench-key", SECRET_KEY, ("a", "b", "c", "d")),
    )
    processes = [start(server, folder / f"{server.name}.log") for server in (servers.valkey, servers.seaweedfs)]
    try:
        for bucket in ("thinkqueue", "idle"):
            servers.seaweedfs.configure_fsync(bucket)
        yield servers
    finally:
        for one in processes:
            stop(one)
        servers.seaweedfs.remove_sockets()


@contextmanager
def service(environment: dict[str, str], folder: Path, *modules: str) -> Iterator[Settings]:
    environment |= {"API_PORT": str(free_ports()), "LOG_FORMAT": "json"}
    environment |= {"MAX_WAITING_JOBS": "10000000", "MAX_OPEN_JOBS": "10000000"}
    settings = settings_of(environment)
    initialize(settings)
    processes = []
    try:
        for module in modules:
            with (folder / f"{module}.log").open("ab") as log:
                command = [sys.executable, "-m", *module.split()]
                processes.append(subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log))
        await_api(settings.api_port)
        yield settings
    finally:
        for process in processes:
            stop(process)


def await_api(port: int) -> None:
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit("the API did not become ready within 30 s")


class PutOnly(Intake):
    """Stores the request, and does not use Redis."""

    def admit(self, job_id: str, *_: Any, **__: Any) -> Admission:
        return Admission(job_id)

    def create_record(self, request: JobRequest) -> AcceptResult:
        fields = {"tenant": request.tenant, "status": "preparing", "stage": "prepare", "priority": request.priority}
        return AcceptResult(Job.from_hash(request.id, fields), is_new=True, needs_wakeup=False, position=0)


def serve_put_only() -> None:
    settings = Settings()
    configure_logs(settings, process="api")
    app = create_app(settings)
    found = app.state.services
    media = MediaIntake(found.object_store, found.uploads, found.files, settings)
    stores = (found.store, found.index, found.object_store, found.documents, found.ended_jobs)
    intake = PutOnly(*stores, media, found.quotas, settings)
    app.state.services = replace(found, intake=intake)
    uvicorn.run(app, host="127.0.0.1", port=settings.api_port, log_config=None, access_log=False, server_header=False)


if __name__ == "__main__":
    if sys.argv[1:] == ["put"]:
        serve_put_only()
    else:
        main()
