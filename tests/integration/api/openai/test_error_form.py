from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from testing.api import client_of
from testing.table import Table


@pytest.fixture
def client(table: Table) -> Iterator[TestClient]:
    with client_of(table.settings.model_copy(update={"auth": "keys"})) as client:
        yield client


def test_errors_of_middleware_have_openais_form(client: TestClient) -> None:
    reply = client.post("/v1/responses", json={})
    assert (reply.status_code, reply.headers["x-should-retry"]) == (401, "false")
    assert reply.json()["error"]["code"] == "invalid_api_key"


def test_errors_of_native_routes_keep_their_form(client: TestClient) -> None:
    assert "x-should-retry" not in client.get("/v1/jobs").headers


def test_the_answer_to_head_has_no_body(client: TestClient) -> None:
    reply = client.head("/v1/responses/resp_1")
    assert (reply.status_code, reply.content) == (401, b"")
