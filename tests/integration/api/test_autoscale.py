"""``GET /v1/autoscale`` on a real job table."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from jobs.table.types import WorkerStatus
from testing.api import HELLO, client_of
from testing.table import Table


def test_waiting_jobs_want_workers_and_an_empty_queue_wants_none(client: TestClient, table: Table) -> None:
    assert client.get("/v1/autoscale").json()["generate"]["wanted"] == 0
    client.post("/v1/jobs", json=HELLO)
    reply = client.get("/v1/autoscale").json()
    assert (reply["generate"]["wanted"], reply["prepare"]["wanted"]) == (1, 1), (
        "a job in the prepare stage will need a generate worker"
    )
    assert reply["generate"]["backlog_seconds"] == -1
    table.store.heartbeat(WorkerStatus("w1", "generate", "starting", 8, 8), {})
    reply = client.get("/v1/autoscale").json()["generate"]
    assert (reply["wanted"], reply["workers"]) == (1, {"starting": 1})


def test_with_keys_the_route_needs_a_key(table: Table) -> None:
    with client_of(table.settings.model_copy(update={"auth": "keys"})) as client:
        assert client.get("/v1/autoscale").status_code == 401


AUTOSCALE_KEY = "k" * 32


@pytest.fixture
def keyed(table: Table) -> Iterator[TestClient]:
    more = {"auth": "keys", "autoscale_key": SecretStr(AUTOSCALE_KEY)}
    with client_of(table.settings.model_copy(update=more)) as client:
        yield client


def test_the_autoscale_key_permits_this_route_only(keyed: TestClient) -> None:
    headers = {"Authorization": f"Bearer {AUTOSCALE_KEY}"}
    reply = keyed.get("/v1/autoscale", headers=headers)
    assert reply.json()["generate"]["wanted"] == 0
    assert keyed.head("/v1/autoscale", headers=headers).status_code == 200
    assert keyed.get("/v1/autoscale", headers={"Authorization": f"Bearer {AUTOSCALE_KEY}k"}).status_code == 401
    assert keyed.get("/v1/autoscale", headers={"Authorization": f"Basic {AUTOSCALE_KEY}"}).status_code == 401
    for method, path in (
        ("POST", "/v1/autoscale"),
        ("GET", "/v1/jobs"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/usage"),
    ):
        assert keyed.request(method, path, headers=headers).status_code == 401, (method, path)


def test_the_autoscale_key_needs_no_object_store(table: Table) -> None:
    more = {"auth": "keys", "autoscale_key": SecretStr(AUTOSCALE_KEY), "s3_endpoint": "http://127.0.0.1:9"}
    with client_of(table.settings.model_copy(update=more)) as client:
        assert client.get("/v1/autoscale", headers={"Authorization": f"Bearer {AUTOSCALE_KEY}"}).status_code == 200
        assert client.get("/v1/autoscale", headers={"Authorization": f"Bearer {'x' * 32}"}).status_code == 503
