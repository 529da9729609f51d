"""The keeper's delivery dispatcher: concurrent attempts, and their release when the keeper stops."""

import asyncio
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from jobs.model.retention import DAY_MS
from jobs.objects import keys
from jobs.objects.documents import save_json
from testing.processes.http_server import HttpServer
from testing.table import Table
from worker.egress.client import EgressClient
from worker.keeper.delivery.deliverer import Deliverer
from worker.keeper.delivery.dispatcher import DeliveryDispatcher


def create_test_event(table: Table, delivery: str, url: str) -> None:
    event = {"url": url, "tenant": "default", "created_at": 1_760_000_000}
    save_json(table.object_store, keys.event_test_key(delivery), event)
    table.deliveries.create_test(delivery, event="job.completed", retention_ms=DAY_MS)


def dispatch(table: Table, *, until: Callable[[], bool], drain_timeout_s: float) -> None:
    """Dispatch what is due, wait for a condition, and drain."""

    async def run() -> None:
        async with EgressClient(table.settings.egress_allow) as egress:
            deliverer = Deliverer(table.store, table.deliveries, table.object_store, table.settings, egress)
            dispatcher = DeliveryDispatcher(table.deliveries, deliverer)
            await dispatcher.dispatch_due()
            async with asyncio.timeout(30):
                while not until():
                    await asyncio.sleep(0.01)
            await dispatcher.drain(timeout_s=drain_timeout_s)

    asyncio.run(run())


def test_due_deliveries_are_attempted_concurrently(table: Table, http_server: HttpServer) -> None:
    """Each receiver answers only when all three requests have arrived."""
    arrived = threading.Barrier(3, timeout=30)

    def answer(request: BaseHTTPRequestHandler) -> None:
        arrived.wait()
        request.send_response(200)
        request.send_header("content-length", "0")
        request.end_headers()

    http_server.answers["/hook"] = answer
    for number in range(3):
        create_test_event(table, f"evt_test_{number}", http_server.url("/hook"))
    dispatch(table, until=lambda: len(http_server.received) == 3, drain_timeout_s=30)
    found = [table.deliveries.get(f"evt_test_{number}") for number in range(3)]
    assert [delivery.state for delivery in found if delivery] == ["delivered"] * 3


def test_a_draining_keeper_releases_an_attempt_that_takes_too_long(table: Table, http_server: HttpServer) -> None:
    stopped = threading.Event()

    def stall(_: BaseHTTPRequestHandler) -> None:
        stopped.wait(30)

    http_server.answers["/hook"] = stall
    create_test_event(table, "evt_test_a", http_server.url("/hook"))
    try:
        dispatch(table, until=lambda: len(http_server.received) == 1, drain_timeout_s=0)
    finally:
        stopped.set()
    [due] = table.deliveries.claim_due(claim="other keeper", limit=10)
    assert (due.id, due.attempts) == ("evt_test_a", 0), "another keeper can make the attempt at once"
