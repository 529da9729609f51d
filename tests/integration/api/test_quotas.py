"""Quotas of a tenant's tokens and GPU time: new jobs are refused, everything else goes on."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from jobs.model.job import JobStatus
from jobs.model.usage import Usage, today
from jobs.table import keys as names
from jobs.table.scripts import connect
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from testing.api import HELLO, client_of
from testing.table import Table


@pytest.fixture
def client(table: Table) -> Iterator[TestClient]:
    with client_of(table.settings.model_copy(update={"auth": "keys"})) as client:
        yield client


def headers(table: Table, **quotas: Any) -> dict[str, str]:
    keys = ApiKeyStore(connect(table.settings), table.object_store)
    return {"Authorization": f"Bearer {keys.create(ApiKey('', 'acme', **quotas))[1]}"}


def use(table: Table, *, tokens: int = 0, gpu_seconds: float = 0) -> None:
    """End a job of the tenant that has used this much."""
    job_id = f"job_{tokens}_{gpu_seconds:.0f}"
    table.accept(job_id, tenant="acme")
    usage = Usage(tokens // 2, tokens - tokens // 2, 0, round(gpu_seconds * 1000))
    status = JobStatus.COMPLETED
    assert table.store.finish(job_id, status=status, error="", event_data="{}", usage=usage, retention_ms=60_000)


def test_a_used_up_quota_refuses_new_jobs_of_its_key_only(client: TestClient, table: Table) -> None:
    limited, free = headers(table, tokens_per_day=1_000), headers(table)
    key = {"Idempotency-Key": "one", **limited}
    first = client.post("/v1/jobs", json=HELLO, headers=key)
    assert first.status_code == 202
    use(table, tokens=999)
    assert client.post("/v1/jobs", json=HELLO, headers=limited).status_code == 202
    use(table, tokens=1)

    refused = client.post("/v1/jobs", json=HELLO, headers=limited)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert "tokens_per_day of your API key is used up: 1000 of 1000" in refused.json()["detail"]
    assert f"{today() + timedelta(days=1)}T00:00:00Z" in refused.json()["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60

    assert client.post("/v1/jobs", json=HELLO, headers=free).status_code == 202, "another key without the quota"
    assert client.post("/v1/jobs", json=HELLO, headers=key).json()["id"] == first.json()["id"], "a repeat"
    assert client.get(first.headers["location"], headers=limited).status_code == 200
    (quota,) = client.get("/v1/usage", headers=limited).json()["quotas"]
    assert (quota["name"], quota["limit"], quota["used"]) == ("tokens_per_day", 1_000, 1_000)
    assert quota["resets_at"] == f"{today() + timedelta(days=1)}T00:00:00.000Z"
    assert client.get("/v1/usage", headers=free).json()["quotas"] == []


def test_a_repeat_by_the_client_library_finds_the_job_that_used_up_the_quota(client: TestClient, table: Table) -> None:
    limited = headers(table, tokens_per_day=10)
    first = client.post("/v1/jobs", json=HELLO, headers={**limited, "x-stainless-retry-count": "0"})
    use(table, tokens=10)
    repeat = client.post("/v1/jobs", json=HELLO, headers={**limited, "x-stainless-retry-count": "1"})
    assert (repeat.status_code, repeat.json()["id"]) == (202, first.json()["id"])
    other = {**HELLO, "metadata": {"new": "yes"}}
    refused = client.post("/v1/jobs", json=other, headers={**limited, "x-stainless-retry-count": "1"})
    assert refused.json()["code"] == "quota_exceeded"
    assert not connect(table.settings).exists(names.RESERVED)


def test_a_month_counts_every_day_since_its_first(client: TestClient, table: Table) -> None:
    mine = headers(table, gpu_hours_per_month=2, gpu_hours_per_day=100, tokens_per_month=10**9)
    use(table, gpu_seconds=3_600)
    redis, first = connect(table.settings), today().replace(day=1)
    for day, hours in ((first, 0.5), (first - timedelta(days=1), 50)):
        redis.hincrby(names.usage("acme", names.usage_day(day)), "gpu_ms", int(hours * 3_600_000))
    used = {quota["name"]: quota["used"] for quota in client.get("/v1/usage", headers=mine).json()["quotas"]}
    assert used["gpu_hours_per_month"] == 1.5
    assert client.post("/v1/jobs", json=HELLO, headers=mine).status_code == 202
    use(table, gpu_seconds=1_800)
    refused = client.post("/v1/jobs", json=HELLO, headers=mine).json()
    assert refused["code"] == "quota_exceeded"
    assert "gpu_hours_per_month of your API key is used up: 2 of 2" in refused["detail"]


def test_keys_of_a_file_have_scopes_and_quotas(table: Table, tmp_path: Path) -> None:
    token, path = "tq_" + "a" * 30, tmp_path / "keys.json"
    fields = {"key": token, "tenant": "acme", "scopes": ["submit", "read"], "tokens_per_month": 5}
    path.write_text(json.dumps([fields]), "utf-8")
    mine = {"Authorization": f"Bearer {token}"}
    with client_of(table.settings.model_copy(update={"auth": "keys", "api_keys_file": path})) as client:
        assert client.get("/v1/usage", headers=mine).json()["quotas"][0]["limit"] == 5
        assert client.delete("/v1/jobs/x", headers=mine).status_code == 403
