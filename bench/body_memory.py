"""Measure the memory of an api process and its process for large bodies while large bodies of many tenants arrive.

    python -m bench.body_memory [--bodies 24] [--megabytes 30]

The sum of both must be below the memory limit of the container (k8s/base/api.yaml, docker-compose.yml).
"""

import argparse
import base64
import json
import os
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil

from jobs.table.scripts import connect
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from testing.processes.service import Service, standalone_service

MIB = 2**20
TIMEOUT_S = 300.0
POLL_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bodies", type=int, default=24)
    parser.add_argument("--megabytes", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, standalone_service(Path(folder), "pocket") as service:
        service.start("api", AUTH="keys", BODY_TIMEOUT_S=str(int(TIMEOUT_S)))
        service.wait_for_workers()
        measure(service, options.bodies, body_of(options.megabytes * 1_000_000))


def measure(service: Service, bodies: int, body: bytes) -> None:
    """Send the bodies at the same time, each with a tenant of its own, and print the memory that both processes had."""
    keys = ApiKeyStore(connect(service.table.settings), service.table.object_store)
    tokens = [keys.create(ApiKey("", f"tenant{number}"))[1] for number in range(bodies)]
    api = psutil.Process(service.processes["api"].pid)
    post(service, tokens[0], b"{}")
    stop, sums = threading.Event(), [rss_bytes(api)]

    def watch() -> None:
        while not stop.wait(POLL_S):
            sums.append(rss_bytes(api))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(bodies) as pool:
        statuses = Counter(pool.map(lambda token: post(service, token, body), tokens))
    stop.set()
    watcher.join()
    print(f"{bodies} bodies of {len(body) / 1e6:.1f} MB at the same time: {dict(statuses)}")
    print(
        f"api and its process for large bodies, RSS: {sums[0] / MIB:.0f} MiB before, {max(sums) / MIB:.0f} MiB at most"
    )


def post(service: Service, token: str, body: bytes) -> int:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return httpx.post(f"{service.url}/v1/jobs", content=body, headers=headers, timeout=TIMEOUT_S).status_code


def body_of(size: int) -> bytes:
    """Return a job with two inline pictures that has about this many bytes."""
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + os.urandom(size * 3 // 8 - 1_000)).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    return json.dumps({"messages": [{"role": "user", "content": [part, part]}]}).encode()


def rss_bytes(api: psutil.Process) -> int:
    return int(sum(process.memory_info().rss for process in (api, *api.children())))


if __name__ == "__main__":
    main()
