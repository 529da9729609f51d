"""A worker that froze between its seal and its PUT, and thaws when the job is in other hands, writes nothing."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from jobs.model.result import JobResult
from jobs.objects.keys import result_key
from testing.http_server import HttpServer
from testing.proxy import Proxy, Trap
from testing.request_bodies import question
from testing.service import Service

SHORT = {"messages": question("Hi."), "thinking": {"budget_tokens": 4}, "max_answer_tokens": 4}


@pytest.fixture
def proxies(isolated_service: Service) -> Iterator[dict[str, Proxy]]:
    """Between each generate worker and the object store."""
    port = urlsplit(isolated_service.environment["S3_ENDPOINT"]).port
    assert port
    proxies = {name: Proxy(port) for name in ("generate", "generate2")}
    yield proxies
    for proxy in proxies.values():
        proxy.close()


def test_a_thawed_worker_cannot_write(
    isolated_service: Service, proxies: dict[str, Proxy], http_server: HttpServer
) -> None:
    table = isolated_service.table

    def start_frozen_at_its_put(name: str) -> Trap:
        mark = f"PUT /{table.settings.s3_bucket}/results/".encode()
        trap = Trap(mark, "before", lambda: isolated_service.suspend(name))
        proxies[name].set(trap)
        isolated_service.start(name, S3_ENDPOINT=f"http://127.0.0.1:{proxies[name].port}")
        return trap

    isolated_service.start("api", "prepare", "keeper")
    isolated_service.wait_for_workers(prepare=2, keeper=1)
    first = start_frozen_at_its_put("generate")
    job_id = isolated_service.submit(**SHORT, callback={"url": http_server.answer("/hook")})
    assert first.sprung.wait(60), "the first worker's PUT"
    sealed = table.store.get(job_id)
    assert sealed is not None
    assert sealed.sealed == "completed"

    second = start_frozen_at_its_put("generate2")
    assert second.sprung.wait(60), "the second worker's PUT, when the first one's seal has run out"
    isolated_service.resume("generate")
    isolated_service.wait_until(
        lambda: "job.claim_lost" in isolated_service.log("generate"), "notice of the first worker"
    )
    assert table.object_store.is_empty(result_key(job_id)), "nothing was written behind the lease"

    isolated_service.resume("generate2")
    assert isolated_service.wait_for_end(job_id)["status"] == "completed"
    result = JobResult.from_json(table.object_store.get(result_key(job_id)))
    assert result.claim != sealed.claim
    assert result.attempt > sealed.attempt
    assert [event.type for event in table.store.events(job_id)].count("ended") == 1
    isolated_service.wait_until(lambda: http_server.received, "webhook")
    assert len({received.headers["webhook-id"] for received in http_server.received}) == 1
