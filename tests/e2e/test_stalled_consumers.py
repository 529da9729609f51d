"""A worker whose Celery consumer is connected but receives no wake-up shuts down, and the next worker continues."""

from collections.abc import Iterator

import pytest

from testing.inputs.request_bodies import SHORT_JOB
from testing.processes.proxy import Proxy
from testing.processes.service import Service

STALL_TIMEOUT_S, CHECK_INTERVAL_S = 8.0, 0.5
EXIT_LIMIT_S = 120.0
NAMES = ("prepare", "generate")


@pytest.fixture
def proxies(isolated_service: Service) -> Iterator[dict[str, Proxy]]:
    """One between each worker and Redis."""
    _, _, port = isolated_service.environment["REDIS_URL"].rpartition("/")[0].rpartition(":")
    proxies = {name: Proxy(int(port)) for name in NAMES}
    yield proxies
    for proxy in proxies.values():
        proxy.close()


def start(service: Service, name: str, proxy: Proxy) -> None:
    front, _, _ = service.environment["REDIS_URL"].rpartition("/")[0].rpartition(":")
    service.start(
        name,
        REDIS_URL=f"{front}:{proxy.port}/0",
        CONSUMER_STALL_TIMEOUT_S=str(STALL_TIMEOUT_S),
        CONSUMER_CHECK_INTERVAL_S=str(CHECK_INTERVAL_S),
    )


def test_worker_with_a_stalled_consumer_exits_and_its_successor_runs_the_jobs(
    isolated_service: Service, proxies: dict[str, Proxy]
) -> None:
    isolated_service.start("api", "keeper")
    for name, proxy in proxies.items():
        start(isolated_service, name, proxy)
    isolated_service.wait_for_workers(prepare=1, generate=1, keeper=1)
    assert isolated_service.wait_for_end(isolated_service.submit(**SHORT_JOB))["status"] == "completed"

    proxies["generate"].drop_replies()
    waits_for_generate = isolated_service.submit(**SHORT_JOB)
    isolated_service.wait_until(
        lambda: isolated_service.job(waits_for_generate)["status"] == "queued", "a prepared job"
    )
    proxies["prepare"].drop_replies()
    waits_for_prepare = isolated_service.submit(**SHORT_JOB)

    for name, proxy in proxies.items():
        # A supervisor starts a new process when one has ended.
        assert isolated_service.processes[name].wait(EXIT_LIMIT_S) == 0
        assert '"event": "consumer.stalled"' in isolated_service.log(name)
        start(isolated_service, name, proxy)
    for job_id, stage in ((waits_for_generate, "queued"), (waits_for_prepare, "preparing")):
        ended = isolated_service.wait_for_end(job_id)
        assert ended["status"] == "completed"
        assert ended["attempt"] == 1, f"it was {stage} all the time"
