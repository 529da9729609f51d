"""Scopes of API keys: what each permits, on every route."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from api.middleware.access.scopes import required_scope
from jobs.table.scripts import connect
from jobs.tenants.api_key import SCOPES, ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from testing.api import HELLO, client_of
from testing.table import Table

EXPECTED = {
    ("GET", "/v1/jobs"): "read",
    ("GET", "/v1/jobs/{job_id}/events"): "read",
    ("GET", "/v1/jobs/{job_id}/deliveries"): "read",
    ("GET", "/v1/webhook_deliveries/{delivery_id}"): "read",
    ("GET", "/v1/usage"): "read",
    ("GET", "/v1/models"): "read",
    ("POST", "/v1/jobs"): "submit",
    ("POST", "/v1/jobs/{job_id}/retry"): "submit",
    ("POST", "/v1/uploads"): "submit",
    ("POST", "/v1/uploads/{upload_id}/complete"): "submit",
    ("POST", "/v1/jobs/{job_id}/cancel"): "cancel",
    ("DELETE", "/v1/jobs/{job_id}"): "cancel",
    ("GET", "/v1/webhook_secret"): "webhooks",
    ("POST", "/v1/webhook_secret/rotate"): "webhooks",
    ("POST", "/v1/webhook_secret/test"): "webhooks",
    ("POST", "/v1/jobs/{job_id}/deliveries/{delivery_id}/redeliver"): "webhooks",
    ("GET", "/v1/autoscale"): "autoscale",
}


@pytest.fixture
def client(table: Table) -> Iterator[TestClient]:
    with client_of(table.settings.model_copy(update={"auth": "keys"})) as client:
        yield client


def headers(table: Table, *scopes: str) -> dict[str, str]:
    keys = ApiKeyStore(connect(table.settings), table.object_store)
    return {"Authorization": f"Bearer {keys.create(ApiKey('', 'a', scopes=scopes))[1]}"}


def calls(client: TestClient) -> list[tuple[str, str]]:
    app: Any = client.app
    paths: dict[str, Any] = app.openapi()["paths"]
    assert any(isinstance(route, APIRoute) for route in app.routes)
    found = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    return [(method, path) for method, path in found if path.startswith("/v1/")]


def test_each_route_has_the_scope_that_its_effect_calls_for(client: TestClient) -> None:
    found = {call: required_scope(*call) for call in calls(client)}
    assert EXPECTED.items() <= found.items()
    assert set(found.values()) == set(SCOPES)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_with_one_scope_gets_a_403_on_every_other_route(client: TestClient, table: Table, scope: str) -> None:
    mine = headers(table, scope)
    for method, path in calls(client):
        reply = client.request(
            method, path.format(job_id="x", delivery_id="x", upload_id="x", model_id="x"), headers=mine
        )
        if required_scope(method, path) == scope:
            assert reply.status_code != 403, (method, path)
        else:
            assert (reply.status_code, reply.json()["code"]) == (403, "forbidden"), (method, path)
            assert f"the scope {required_scope(method, path)}," in reply.json()["detail"]


def test_a_key_that_only_submits_cannot_read_its_own_job(client: TestClient, table: Table) -> None:
    submits, reads = headers(table, "submit"), headers(table, "read")
    created = client.post("/v1/jobs", json=HELLO, headers=submits)
    assert created.status_code == 202
    path = created.headers["location"]
    assert client.get(path, headers=submits).status_code == 403
    assert client.get(path, headers=reads).status_code == 200
    for method, name in (("POST", f"{path}/cancel"), ("POST", f"{path}/cancel/"), ("DELETE", path)):
        assert client.request(method, name, headers=submits).status_code == 403, name
    assert client.get(path, headers=reads).json()["status"] == "preparing", "nothing was cancelled"


def test_a_large_body_of_a_key_that_may_not_submit_is_refused_unread(client: TestClient, table: Table) -> None:
    body = b"{" + b" " * 2**20
    reply = client.post(
        "/v1/jobs", content=body, headers={**headers(table, "read"), "Content-Type": "application/json"}
    )
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
