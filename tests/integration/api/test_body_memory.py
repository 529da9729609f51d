"""The memory of an api process and its process for large bodies while many of these arrive at the same time."""

import base64
import json
import os
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from jobs.table.scripts import connect
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from testing.processes.service import Service
from tests.integration.api.test_keyless_costs import MIB, peak_bytes

BODIES, BODY_BYTES = 24, 30_000_000


@pytest.mark.slow
def test_large_bodies_of_many_tenants_take_a_bounded_amount_of_memory(isolated_service: Service) -> None:
    """With 16 bodies at the same time, one process took 1.5 GiB more than before; both together take 0.7 GiB."""
    service = isolated_service
    service.start("api", AUTH="keys", BODY_TIMEOUT_S="300")
    service.wait_for_workers()
    keys = ApiKeyStore(connect(service.table.settings), service.table.object_store)
    tokens = [keys.create(ApiKey("", f"tenant{number}"))[1] for number in range(BODIES)]
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + os.urandom(BODY_BYTES * 3 // 8 - 1_000)).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    body = json.dumps({"messages": [{"role": "user", "content": [part, part]}]}).encode()
    before = peak_bytes(service.processes["api"].pid)

    def post(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return httpx.post(f"{service.url}/v1/jobs", content=body, headers=headers, timeout=300).status_code

    with ThreadPoolExecutor(BODIES) as pool:
        statuses = list(pool.map(post, tokens))
    api = psutil.Process(service.processes["api"].pid)
    peak = sum(peak_bytes(process.pid) for process in (api, *api.children()))
    print(f"{len(body)} bytes each: {before / MIB:.0f} MiB before, at most {peak / MIB:.0f} MiB; {statuses}")
    assert set(statuses) <= {202, 429}
    assert peak - before < 900 * MIB
