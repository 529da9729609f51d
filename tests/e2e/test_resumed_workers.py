"""A worker that was suspended between seal and PUT, and resumes when another one has the job, writes nothing."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from jobs.model.documents.result import JobResult
from jobs.objects.keys import result_key
from testing.inputs.request_bodies import SHORT_JOB
from testing.processes.http_server import HttpServer
from testing.processes.proxy import Proxy, Trap
from testing.processes.service import Service


@pytest.fixture
def proxies(isolated_service: Service) -> Iterator[dict[str, Proxy]]:
    """One between each generate worker and the object store."""
    port = urlsplit(isolated_service.environment["S3_ENDPOINT"]).port
    assert port
    proxies = {name: Proxy(port) for name in ("generate", "generate2")}
    yield proxies
    for proxy in proxies.values():
        proxy.close()


def test_a_resumed_worker_cannot_write(
    isolated_service: Service, proxies: dict[str, Proxy], http_server: HttpServer
) -> None:
    table = isolated_service.table

    def start_and_suspend_at_put(name: str) -> Trap:
        pattern = f"PUT /{table.settings.s3_bucket}/results/".encode()
        trap = Trap(pattern, "before", lambda: isolated_service.suspend(name))
        proxies[name].set(trap)
        isolated_service.start(name, S3_ENDPOINT=f"http://127.0.0.1:{proxies[name].port}")
        return trap

    isolated_service.start("api", "prepare", "keeper")
    isolated_service.wait_for_workers(prepare=1, keeper=1)
    first = start_and_suspend_at_put("generate")
    job_id = isolated_service.submit(**SHORT_JOB, callback={"url": http_server.answer("/hook")})
    assert first.triggered.wait(60), "no PUT by the first worker"
    sealed = table.store.get(job_id)
    assert sealed is not None
    assert sealed.sealed == "completed"

    second = start_and_suspend_at_put("generate2")
    assert second.triggered.wait(60), "no PUT by the second worker after the seal of the first one has expired"
    isolated_service.resume("generate")
    isolated_service.wait_until(lambda: "job.claim_lost" in isolated_service.log("generate"), "job.claim_lost")
    assert table.object_store.is_empty(result_key(job_id)), "a result was written without a lease"

    isolated_service.resume("generate2")
    assert isolated_service.wait_for_end(job_id)["status"] == "completed"
    result = JobResult.from_json(table.object_store.get(result_key(job_id)))
    assert result.claim != sealed.claim
    assert result.attempt > sealed.attempt
    assert [event.type for event in table.store.events(job_id)].count("ended") == 1
    isolated_service.wait_until(lambda: http_server.received, "the webhook")
    assert len({received.headers["webhook-id"] for received in http_server.received}) == 1
