"""The keeper's delivery dispatcher: concurrent attempts, and their release when the keeper stops."""

import asyncio
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from jobs.model.retention import DAY_MS
from jobs.model.retry_schedule import MAX_ATTEMPTS
from jobs.objects import keys
from jobs.objects.documents import save_json
from jobs.objects.store import ObjectStore
from jobs.table import keys as table_keys
from jobs.table.deliveries import Delivery
from jobs.table.scripts import connect
from testing.processes.http_server import HttpServer
from testing.processes.raw_server import raw_server, send_and_hold
from testing.processes.waiting import TIME_SCALE
from testing.table import Table
from worker.egress.client import EgressClient
from worker.egress.resolver import HostResolver
from worker.keeper.delivery.deliverer import Deliverer
from worker.keeper.delivery.dispatcher import DeliveryDispatcher


def create_test_event(table: Table, delivery: str, url: str, *, tenant: str = "default") -> None:
    event = {"url": url, "tenant": tenant, "created_at": 1_760_000_000}
    save_json(table.object_store, keys.event_test_key(delivery), event)
    table.deliveries.create_test(delivery, tenant=tenant, event="job.completed", retention_ms=DAY_MS)


def dispatch(table: Table, *, until: Callable[[], bool], drain_timeout_s: float, **options: Any) -> None:
    """Dispatch what is due until a condition is true, and drain. ``options`` go to the egress client."""

    async def run() -> None:
        async with EgressClient(table.settings.egress_allow, **options) as egress:
            deliverer = Deliverer(table.store, table.deliveries, table.object_store, table.settings, egress)
            dispatcher = DeliveryDispatcher(table.deliveries, deliverer)
            async with asyncio.timeout(30 * TIME_SCALE):
                await dispatcher.dispatch_due()
                while not until():
                    await asyncio.sleep(0.02)
                    await dispatcher.dispatch_due()
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


def test_a_delivery_whose_handling_crashes_ends(table: Table) -> None:
    """Its object is not a JSON document, so that no attempt can be built."""
    table.object_store.put(keys.event_test_key("evt_test_a"), b"[")
    table.deliveries.create_test("evt_test_a", tenant="default", event="job.completed", retention_ms=DAY_MS)
    table.settings = table.settings.model_copy(update={"webhook_schedule_scale": 0.0})

    def delivery() -> Delivery:
        found = table.deliveries.get("evt_test_a")
        assert found is not None
        return found

    connect(table.settings).hset(table_keys.delivery("evt_test_a"), "attempts", str(MAX_ATTEMPTS - 2))
    dispatch(table, until=lambda: delivery().state == "abandoned", drain_timeout_s=30)
    assert len(delivery().attempts) == 2
    assert "CorruptDocument" in str(delivery().attempts[0].error)
    assert table.deliveries.claim_due(claim="k", limit=1) == []


def test_a_delivery_that_ends_its_keepers_is_not_attempted_forever(table: Table, http_server: HttpServer) -> None:
    create_test_event(table, "evt_test_a", http_server.answer("/hook"))
    connect(table.settings).hset(
        table_keys.delivery("evt_test_a"), mapping={"claim": "lost", "attempts": MAX_ATTEMPTS - 1}
    )
    dispatch(table, until=lambda: table.deliveries.get("evt_test_a").state == "abandoned", drain_timeout_s=30)  # type: ignore[union-attr]
    assert http_server.received == []


def test_an_object_store_that_does_not_answer_costs_no_attempt(table: Table, http_server: HttpServer) -> None:
    create_test_event(table, "evt_test_a", http_server.answer("/hook"))
    away = ObjectStore(table.settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"}), tries=1)
    reachable, table.object_store = table.object_store, away
    client, row = connect(table.settings), table_keys.delivery("evt_test_a")
    dispatch(
        table,
        until=lambda: (
            (client.zscore(table_keys.tenant_deliveries_due("default"), "evt_test_a") or 0) > 0
            and not client.hexists(row, "claim")
        ),
        drain_timeout_s=30,
    )
    assert client.hget(row, "attempts") == "0"
    table.object_store = reachable


@pytest.mark.parametrize("attack", ["one address", "many addresses", "dead name server", "endless head"])
def test_a_tenant_whose_receivers_stall_does_not_delay_another(
    table: Table, http_server: HttpServer, attack: str
) -> None:
    """The delivery of one tenant arrives while 150 deliveries of another are due and those that are sent all stall."""
    table.settings = table.settings.model_copy(update={"webhook_timeout_s": 45.0})
    dead, lookups = threading.Event(), list[str]()

    def lookup(host: str, _port: int) -> list[str]:
        lookups.append(host)
        if attack == "dead name server" and host.startswith("flood"):
            dead.wait(60)
        number = int(host.partition(".")[0].removeprefix("flood") or 0)
        return [f"127.0.{number // 200}.{number % 200 + 1}" if attack == "many addresses" else "127.0.0.1"]

    endless = send_and_hold(b"HTTP/1.1 200 OK\r\n" if attack == "endless head" else b"", b"x: y\r\n", pause_s=1)
    with raw_server(endless, host="") as (port, requests):
        for number in range(150):
            create_test_event(table, f"evt_test_{number}", f"http://flood{number}.example:{port}/", tenant="flood")
        resolve = HostResolver(lookup=lookup).resolve

        def is_delivered() -> bool:
            if len(lookups if attack == "dead name server" else requests) >= 4 and not table.deliveries.get("evt_b"):
                create_test_event(table, "evt_b", http_server.answer("/hook"), tenant="b")
            return bool(http_server.received)

        dispatch(table, until=is_delivered, drain_timeout_s=0, resolve=resolve)
        dead.set()
    found = [table.deliveries.get(f"evt_test_{number}") for number in range(150)]
    assert not any(delivery.attempts for delivery in found if delivery), "every other attempt still stalled"
