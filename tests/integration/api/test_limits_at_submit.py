"""What cannot succeed is refused at submit, and priorities follow the rights of the API key, also in a retry."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from jobs.model.job import Stage
from jobs.objects.documents import load_request
from jobs.table.scripts import connect
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from testing.api import HELLO, client_of
from testing.processes.http_server import HttpServer
from testing.table import Table, completed


@pytest.fixture
def keyed(table: Table) -> Iterator[TestClient]:
    with client_of(table.settings.model_copy(update={"auth": "keys"})) as client:
        yield client


def make_key(table: Table, *priorities: str, tenant: str = "a") -> dict[str, str]:
    store = ApiKeyStore(connect(table.settings), table.object_store)
    return {"Authorization": f"Bearer {store.create(ApiKey('', tenant, priorities=priorities))[1]}"}


def end(table: Table) -> None:
    """End the only job."""
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    table.finalizer.finalize(completed(claimed.job), expect="owner")


@pytest.mark.parametrize(
    ("limits", "pointer", "says"),
    [
        ({"max_answer_tokens": 1_900}, "/max_answer_tokens", ["256, the default", "(1900)", "context of 2048"]),
        ({"max_answer_tokens": 1_790}, "/max_answer_tokens", ["2046 tokens together, 14 more"]),
        ({"thinking": {"budget_tokens": 1_920}}, "/thinking/budget_tokens", ["(1920)", "128, the default"]),
        ({"thinking": {"budget_tokens": 0}, "max_answer_tokens": 2_048}, "/max_answer_tokens", ["at most 2032"]),
        ({"thinking": {"budget_tokens": -1}, "max_answer_tokens": 2_040}, "/max_answer_tokens", ["at most 2032"]),
        ({"max_answer_tokens": 10**9}, "/max_answer_tokens", ["at most 1776"]),
        ({"max_total_tokens": 2_033}, "/max_total_tokens", ["total of 2033", "has 2048", "at most 2032"]),
        ({"max_total_tokens": 0}, "/max_total_tokens", ["at least 1"]),
        ({"thinking": {"budget_tokens": 10**9}}, "/thinking/budget_tokens", ["lower one of them"]),
    ],
)
def test_impossible_limits_are_refused_with_the_defaults_counted(
    client: TestClient, limits: dict[str, Any], pointer: str, says: list[str]
) -> None:
    reply = client.post("/v1/jobs", json={**HELLO, **limits})
    assert reply.status_code == 422, reply.text
    (problem,) = reply.json()["errors"]
    assert problem["pointer"] == pointer
    assert [text for text in says if text not in problem["message"]] == [], problem["message"]
    assert "(0)" not in problem["message"]


@pytest.mark.parametrize(
    "limits",
    [
        {"max_answer_tokens": 1_776},
        {"thinking": {"budget_tokens": -1}, "max_answer_tokens": 2_032},
        {"thinking": {"budget_tokens": 10**9}, "max_total_tokens": 2_032},
        {"max_answer_tokens": 300, "max_total_tokens": 10**9},
    ],
)
def test_limits_that_leave_room_for_a_prompt_are_accepted(client: TestClient, limits: dict[str, Any]) -> None:
    assert client.post("/v1/jobs", json={**HELLO, **limits}).status_code == 202


@pytest.mark.parametrize(
    ("response_format", "pointer", "says"),
    [
        ({"type": "json_schema"}, "/response_format/schema", "required"),
        ({"type": "json_object", "schema": {}}, "/response_format/schema", "only for"),
        ({"type": "json_schema", "schema": {"not": {}}}, "/response_format/schema", 'Unimplemented keys: ["not"]'),
        ({"type": "json_schema", "schema": {"type": "foo"}}, "/response_format/schema", "Invalid type: foo"),
        ({"type": "json_schema", "schema": {"$ref": "http://127.0.0.1/x"}}, "/response_format/schema", "127.0.0.1"),
        ({"type": "json_schema", "schema": {"pattern": "(", "type": "string"}}, "/response_format/schema", "regex"),
        ({"type": "json_schema", "schema": {"title": "x" * 40_000}}, "/response_format/schema", "limit is 32768"),
        ({"type": "xml"}, "/response_format/type", "json_schema"),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, "/response_format/json_schema", 'use "schema"'),
    ],
)
def test_a_form_that_cannot_be_enforced_is_refused(
    client: TestClient, response_format: dict[str, Any], pointer: str, says: str
) -> None:
    reply = client.post("/v1/jobs", json={**HELLO, "response_format": response_format})
    assert reply.status_code == 422, reply.text
    found = {problem["pointer"]: problem["message"] for problem in reply.json()["errors"]}
    assert says in found[pointer], found


def test_the_form_of_an_answer_is_stored_with_a_format_that_older_workers_refuse(
    client: TestClient, table: Table
) -> None:
    wanted = {"type": "json_schema", "schema": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}}
    for response_format in (wanted, {"type": "json_object"}):
        job_id = client.post("/v1/jobs", json={**HELLO, "response_format": response_format}).json()["id"]
        request = load_request(table.object_store, job_id)
        assert request.response_format == response_format
        assert json.loads(request.to_json())["v"] == 2


def test_a_total_is_stored_with_limits_that_keep_it(client: TestClient, table: Table) -> None:
    body = {**HELLO, "thinking": {"budget_tokens": -1}, "max_answer_tokens": 90, "max_total_tokens": 100}
    request = load_request(table.object_store, client.post("/v1/jobs", json=body).json()["id"])
    assert (request.max_total_tokens, request.max_answer_of_total) == (100, 90)
    assert (request.thinking_budget, request.max_answer_tokens) == (75, 25), "for workers that do not know the total"


def test_without_a_priority_the_first_permitted_one_is_used(keyed: TestClient, table: Table) -> None:
    low, any_ = make_key(table, "low", "high"), make_key(table, "high", "default")
    assert keyed.post("/v1/jobs", json=HELLO, headers=low).json()["priority"] == "low"
    assert keyed.post("/v1/jobs", json=HELLO, headers=any_).json()["priority"] == "default"
    refused = keyed.post("/v1/jobs", json={**HELLO, "priority": "default"}, headers=low)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "low, high" in refused.json()["detail"]


def test_a_default_that_is_sent_is_the_same_body_as_one_that_is_not(client: TestClient) -> None:
    headers = {"Idempotency-Key": "same"}
    first = client.post("/v1/jobs", json=HELLO, headers=headers).json()
    same: tuple[dict[str, Any], ...] = (
        {"priority": "default"},
        {"sampling": {}},
        {"sampling": {"seed": None}},
        {"box_tokens": "strip", "metadata": {}, "result_urls": [], "callback": None},
    )
    for defaults in same:
        again = client.post("/v1/jobs", json={**HELLO, **defaults}, headers=headers)
        assert (again.status_code, again.json().get("id")) == (202, first["id"]), again.text
    other = client.post("/v1/jobs", json={**HELLO, "priority": "low"}, headers=headers)
    assert other.json()["code"] == "idempotency_conflict"


def test_a_retry_needs_the_right_to_the_priority(keyed: TestClient, table: Table) -> None:
    high, low = make_key(table, "high", "default", "low"), make_key(table, "low")
    job_id = keyed.post("/v1/jobs", json={**HELLO, "priority": "high"}, headers=high).json()["id"]
    end(table)
    path = f"/v1/jobs/{job_id}/retry"
    refused = keyed.post(path, headers=low)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert keyed.post(path, json={"priority": "high"}, headers=low).status_code == 403
    assert keyed.post(path, json={"priority": "low"}, headers=low).json()["priority"] == "low"
    assert keyed.post(path, headers=high).json()["priority"] == "high"


def test_a_retry_changes_deadline_priority_and_callback(
    client: TestClient, table: Table, http_server: HttpServer
) -> None:
    body = {**HELLO, "callback": {"url": "https://example.com/old"}, "expires_in": 60, "metadata": {"order": "A-17"}}
    first = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "first"}).json()
    end(table)
    path, headers = f"/v1/jobs/{first['id']}/retry", {"Idempotency-Key": "once"}
    changes = {
        "expires_in": 7,
        "priority": "low",
        "callback": {"url": http_server.url("/hook"), "events": ["job.failed"]},
    }
    second = client.post(path, json=changes, headers=headers).json()
    request = load_request(table.object_store, second["id"])
    assert (request.expires_ms, request.priority, second["priority"]) == (7_000, "low", "low")
    assert request.callback is not None
    assert (request.callback.url, request.callback.events) == (http_server.url("/hook"), ("failed",))
    assert (second["metadata"], second["retried_from"]) == ({"order": "A-17"}, first["id"])
    assert client.post(path, json=changes, headers=headers).json()["id"] == second["id"]
    assert client.post(path, headers=headers).json()["code"] == "idempotency_conflict"

    unchanged = load_request(table.object_store, client.post(path, json={}).json()["id"])
    assert (unchanged.expires_ms, unchanged.priority) == (60_000, "default")
    assert unchanged.callback is not None
    assert unchanged.callback.url == "https://example.com/old"


def test_the_callback_of_a_retry_may_not_name_a_forbidden_address(client: TestClient, table: Table) -> None:
    job_id = client.post("/v1/jobs", json=HELLO).json()["id"]
    end(table)
    for url in ("http://10.0.0.1/", "http://0xa.1/"):
        reply = client.post(f"/v1/jobs/{job_id}/retry", json={"callback": {"url": url}})
        assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, "/callback/url")
