"""Redis executes a call, and its reply is lost: the client repeats the call, and the job table is the same."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from jobs.model.events import Event, JournalToken, tokens_data
from jobs.model.job import JobStatus, Stage, new_claim
from jobs.model.usage import Usage
from jobs.table import keys
from jobs.table.scripts import connect, script_source
from jobs.table.store import JobStore
from runtime.settings import Settings
from testing.processes.proxy import Proxy, Trap
from testing.table import Table

SCRIPTS = ("accept", "claim", "confirm_claim", "mark_prepared", "append", "release", "seal", "finish", "cancel")


@pytest.fixture
def proxy(settings: Settings) -> Iterator[Proxy]:
    proxy = Proxy(urlsplit(settings.redis_url.get_secret_value()).port or 0)
    yield proxy
    proxy.close()


def store_behind(settings: Settings, proxy: Proxy) -> JobStore:
    url = urlsplit(settings.redis_url.get_secret_value())
    location = f"{url.netloc.rpartition(':')[0]}:{proxy.port}"
    url_behind = SecretStr(url._replace(netloc=location).geturl())
    return JobStore(connect(settings.model_copy(update={"redis_url": url_behind})), lease_s=60)


def run_jobs(store: JobStore) -> None:
    """One job from its acceptance to its end, with a release in between; another one that is cancelled."""
    for job_id in ("job_a", "job_b"):
        store.accept(job_id, tenant="t", priority="default", expires_ms=10**6, events=("completed",), labels=("x",))
    claim = new_claim()
    claimed = store.claim(Stage.PREPARE, claim=claim, worker="w")
    assert claimed is not None
    store.confirm_claim("job_a", claim)
    store.mark_prepared("job_a", claim, folder="a1-x", required_tokens=100, cost_s=1)
    for is_last in (False, True):
        claim = new_claim()
        assert store.claim(Stage.GENERATE, claim=claim, worker="w", free_tokens=1_000) is not None
        store.confirm_claim("job_a", claim)
        if not is_last:
            try:
                store.release("job_a", claim)
            except Exception as error:  # noqa: BLE001 - the repeated release finds that it has been done
                assert type(error).__name__ == "ClaimLost"  # noqa: PT017
    assert store.cancel("job_b") == "unclaimed"
    store.append("job_a", claim, [Event(1, "tokens", tokens_data([JournalToken(5, False)], "thinking", "x"))], tokens=1)
    store.seal("job_a", sealer=claim, status=JobStatus.COMPLETED, error="", expect="owner")
    usage = Usage(10, 20, 30, 40)
    store.finish("job_a", status=JobStatus.COMPLETED, error="", event_data="{}", usage=usage, retention_ms=10**6)


def state(table: Table) -> dict[str, object]:
    """What must not depend on a repeated call."""
    redis = connect(table.settings)
    tenant: Any = redis.hgetall(keys.tenant("t"))
    job = table.store.get("job_a")
    assert job is not None
    return {
        "jobs": [job.status, job.attempt, job.lost_leases, job.tokens],
        "open": tenant["open_jobs"],
        "service": [float(value) for name, value in sorted(tenant.items()) if name.startswith("service")],
        "totals": redis.hgetall(keys.TOTALS),
        "usage": [redis.hgetall(key) for key in redis.scan_iter("usage:t:*")],
        "events": [event.type for event in table.store.events("job_a")],
        "deliveries": [delivery.id for delivery in table.deliveries.list_for_job("job_a")],
        "leases": [redis.zcard(keys.leases(stage)) for stage in Stage],
        "queues": [redis.zrange(keys.queue(stage, "default"), 0, -1) for stage in Stage],
    }


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_call_whose_reply_is_lost_is_repeated_without_effect(table: Table, proxy: Proxy, script: str) -> None:
    run_jobs(table.store)
    expected = state(table)
    redis = connect(table.settings)
    epoch = redis.get(keys.EPOCH)
    redis.flushdb()
    redis.set(keys.EPOCH, str(epoch))

    trap = Trap(redis.script_load(script_source(script)).encode(), "after", lambda: None)
    proxy.set(trap)
    run_jobs(store_behind(table.settings, proxy))
    assert trap.triggered.is_set()
    assert state(table) == expected
