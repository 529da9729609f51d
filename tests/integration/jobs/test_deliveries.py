"""The queues of deliveries: fair between tenants, bounded, and without endless claims."""

import pytest

from jobs.errors import TooManyDeliveries
from jobs.model.retention import DAY_MS
from jobs.table import keys
from jobs.table.deliveries import Delivery, DeliveryAttempt, DeliveryStore
from jobs.table.scripts import connect
from testing.table import Table, completed

ATTEMPT = DeliveryAttempt("2026-01-01T00:00:00Z", 500, None, 1, "")


def create(table: Table, tenant: str, count: int, *, first: int = 0) -> None:
    for number in range(first, first + count):
        table.deliveries.create_test(f"evt_{tenant}_{number}", tenant=tenant, event="job.failed", retention_ms=DAY_MS)


def lose_claims(table: Table, tenant: str) -> None:
    """Make the claims of a tenant's deliveries expire, as if their keeper had died; no clock moves."""
    client = connect(table.settings)
    for row in client.zrange(keys.tenant_deliveries_due(tenant), 0, -1):
        client.zincrby(keys.tenant_deliveries_due(tenant), -120_000, str(row))
    client.zincrby(keys.DELIVERIES_DUE, -120_000, tenant)


def test_tenants_are_claimed_in_turns_however_many_deliveries_one_of_them_has(table: Table) -> None:
    create(table, "flood", 300)
    create(table, "b", 2)
    create(table, "c", 1)
    claimed = [due.tenant for due in table.deliveries.claim_due(claim="k", limit=8)]
    assert sorted(claimed[:3]) == ["b", "c", "flood"]
    assert claimed.count("b") == 2
    assert len(claimed) == 8


def test_a_tenant_gets_its_share_and_no_more(table: Table) -> None:
    create(table, "flood", 50)
    create(table, "b", 1)
    first = table.deliveries.claim_due(claim="k", limit=100, share=10)
    assert sorted(due.tenant for due in first) == ["b", *["flood"] * 10]
    assert table.deliveries.claim_due(claim="l", limit=100, share=10, running={"flood": 10}) == []
    [due] = table.deliveries.claim_due(claim="m", limit=100, share=10, running={"flood": 9})
    assert due.tenant == "flood"


def test_a_claim_that_a_keeper_lost_counts_as_an_attempt(table: Table) -> None:
    create(table, "a", 1)
    for attempts in range(3):
        [due] = table.deliveries.claim_due(claim=f"k{attempts}", limit=1)
        assert due.attempts == attempts
        lose_claims(table, "a")
    [due] = table.deliveries.claim_due(claim="k", limit=1)
    table.deliveries.postpone(due.id, claim="k", wait_ms=0)
    assert [row.attempts for row in table.deliveries.claim_due(claim="l", limit=1)] == [3], "a release costs nothing"


def test_the_log_of_a_delivery_that_is_repeated_again_and_again_is_bounded(table: Table) -> None:
    create(table, "a", 1)
    for _ in range(60):
        table.deliveries.redeliver("evt_a_0")
        table.deliveries.claim_due(claim="k", limit=1)
        table.deliveries.settle(
            "evt_a_0", claim="k", state="abandoned", attempt=ATTEMPT, wait_ms=0, retention_ms=DAY_MS
        )
    delivery = table.deliveries.get("evt_a_0")
    assert delivery is not None
    assert len(delivery.attempts) == 50


def test_a_tenant_can_ask_for_a_bounded_number_of_deliveries(table: Table) -> None:
    """Those of ended jobs are created all the same."""
    client = connect(table.settings)
    deliveries = DeliveryStore(client, max_open=3)
    table.finalizer.finalize(completed(table.running("job_a", tenant="a", events=("completed",))), expect="owner")
    create(table, "a", 2)
    with pytest.raises(TooManyDeliveries, match="3 of your deliveries"):
        deliveries.create_test("evt_x", tenant="a", event="job.failed", retention_ms=DAY_MS)
    assert deliveries.get("evt_x") is None
    assert deliveries.redeliver("evt_a_0"), "it waits already"
    settled = Delivery("evt_job_z_completed", "job_z", "job.completed", "delivered", [ATTEMPT])
    with pytest.raises(TooManyDeliveries):
        deliveries.redeliver_settled(settled, tenant="a", retention_ms=DAY_MS)
    assert deliveries.get(settled.id) is None
    assert deliveries.redeliver_settled(settled, tenant="b", retention_ms=DAY_MS), "another tenant's do not count"

    table.finalizer.finalize(completed(table.running("job_b", tenant="a", events=("completed",))), expect="owner")
    assert client.zcard(keys.tenant_deliveries_due("a")) == 4
    for due in deliveries.claim_due(claim="k", limit=10):
        deliveries.settle(due.id, claim="k", state="delivered", attempt=ATTEMPT, wait_ms=0, retention_ms=DAY_MS)
    assert deliveries.redeliver("evt_job_a_completed")


def test_the_deliveries_of_a_job_leave_redis_with_it(table: Table) -> None:
    """Also one that is repeated while the job's record expires, once it is settled."""
    client = connect(table.settings)
    for job_id in ("job_a", "job_b"):
        table.finalizer.finalize(completed(table.running(job_id, events=("completed",))), expect="owner")
    table.store.delete("job_a")
    client.delete(keys.job("job_b"))
    [due] = table.deliveries.claim_due(claim="k", limit=10)
    assert due.job_id == "job_b"
    table.deliveries.settle(due.id, claim="k", state="abandoned", attempt=ATTEMPT, wait_ms=0, retention_ms=DAY_MS)
    assert list(client.keys("delivery:*")) == []


def test_a_damaged_delivery_does_not_stop_the_others(table: Table) -> None:
    create(table, "a", 4)
    client = connect(table.settings)
    client.hdel(keys.delivery("evt_a_0"), "event")
    client.hset(keys.delivery("evt_a_1"), mapping={"attempts": "x", "claim": "lost"})
    client.hdel(keys.delivery("evt_a_2"), "attempts")
    assert [due.id for due in table.deliveries.claim_due(claim="k", limit=10)] == ["evt_a_3"]
    assert not client.exists(*(keys.delivery(f"evt_a_{number}") for number in range(3)))


def test_a_tenant_without_deliveries_is_in_no_list(table: Table) -> None:
    table.finalizer.finalize(completed(table.running("job_a", tenant="a", events=("completed",))), expect="owner")
    create(table, "b", 1)
    client = connect(table.settings)
    assert sorted(client.zrange(keys.DELIVERIES_DUE, 0, -1)) == ["a", "b"]
    table.store.delete("job_a")
    client.delete(keys.delivery("evt_b_0"))  # it expired
    assert table.deliveries.claim_due(claim="k", limit=10) == []
    assert not client.exists(keys.DELIVERIES_DUE, keys.tenant_deliveries_due("a"), keys.tenant_deliveries_due("b"))


def test_a_delivery_that_waited_for_its_receiver_or_was_repeated_is_marked_as_delayed(table: Table) -> None:
    create(table, "a", 2)
    first, second = table.deliveries.claim_due(claim="k", limit=2)
    assert (first.delayed, second.delayed) == (False, False)
    table.deliveries.postpone(first.id, claim="k", wait_ms=0)
    [released] = table.deliveries.claim_due(claim="l", limit=1)
    assert not released.delayed
    table.deliveries.postpone(first.id, claim="l", wait_ms=0, receiver_is_busy=True)
    table.deliveries.settle(second.id, claim="k", state="delivered", attempt=ATTEMPT, wait_ms=0, retention_ms=DAY_MS)
    table.deliveries.redeliver(second.id)
    assert [due.delayed for due in table.deliveries.claim_due(claim="m", limit=2)] == [True, True]
