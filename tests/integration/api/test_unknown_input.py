"""What a route does not read is refused: query parameters, bodies, and ids that cannot exist."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from jobs.model.job import Stage
from testing.api import HELLO
from testing.table import Table, completed


def routes(client: TestClient) -> list[tuple[str, str]]:
    """Return method and path of every route, with an id that does not exist."""
    found = []
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for name in ("job_id", "delivery_id", "upload_id", "model_id"):
            path = path.replace(f"{{{name}}}", "job_none")
        found += [(method.upper(), path) for method in operations]
    return found


def body_of(path: str) -> dict[str, Any] | None:
    bodies: dict[str, dict[str, Any]] = {
        "/v1/jobs": HELLO,
        "/v1/uploads": {"bytes": 1},
        "/v1/uploads/job_none/complete": {"etags": ["a"]},
        "/v1/webhook_secret/test": {"url": "https://example.com"},
    }
    return bodies.get(path)


def test_every_route_refuses_an_unknown_query_parameter(client: TestClient) -> None:
    found = routes(client)
    assert len(found) > 18
    for method, path in found:
        body = body_of(path) if method == "POST" else None
        reply = client.request(method, path, params={"state": "failed", "x~/y": "1"}, json=body)
        assert (reply.status_code, reply.json().get("code")) == (422, "invalid_request"), (method, path, reply.text)
        assert [problem["pointer"] for problem in reply.json()["errors"]] == ["query:state", "query:x~/y"]


def test_a_refused_parameter_names_those_of_the_route(client: TestClient) -> None:
    reply = client.get("/v1/jobs", params={"offset": "3"})
    assert "it has after, created_before, created_from, limit, status" in reply.json()["errors"][0]["message"]
    assert "did you mean limit?" in client.get("/v1/jobs", params={"limt": "3"}).json()["detail"]
    assert "did you mean created_before?" in client.get("/v1/jobs", params={"createdBefore": "3"}).json()["detail"]
    assert "use status" in client.get("/v1/jobs", params={"state": "failed"}).json()["detail"]
    assert "metadata[name]=value" in client.get("/v1/jobs", params={"metadata": "a"}).json()["detail"]
    assert client.get("/v1/jobs", params={"metadata[]": "a"}).status_code == 422
    assert client.get("/v1/jobs", params={"limit": ["1", "2"]}).json()["errors"][0]["pointer"] == "query:limit"
    assert client.get("/v1/jobs", params={"metadata[a]": ["1", "2"]}).status_code == 422
    day = client.get("/v1/usage", params={"first": "2026-13-01"})
    assert "a day such as 2026-01-31" in day.json()["detail"]
    repeat = client.get("/v1/jobs", params={"status": "failed,completed"})
    assert "repeat the parameter" in repeat.json()["detail"]


def test_the_parameters_of_a_route_are_accepted(client: TestClient) -> None:
    query = {
        "status": ["failed", "completed"],
        "metadata[a b/~]": "1",
        "limit": "5",
        "created_from": "2026-01-01T00:00:00Z",
    }
    assert client.get("/v1/jobs", params=query).status_code == 200
    assert client.get("/v1/usage", params={"first": "2026-11-01", "last": "2026-11-02"}).status_code == 200


def test_a_body_where_none_is_read_is_refused(client: TestClient, table: Table) -> None:
    job_id = client.post("/v1/jobs", json=HELLO).json()["id"]
    cancel = f"/v1/jobs/{job_id}/cancel"
    reply = client.post(cancel, json={"reason~/": "late"})
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, "/reason~0~1")
    assert client.post(cancel, json=["x"]).status_code == 422
    assert client.request("GET", "/v1/jobs", json={"status": "failed"}).status_code == 422
    assert client.request("DELETE", f"/v1/jobs/{job_id}", json={"force": True}).status_code == 422
    chunked = client.post(cancel, content=iter([b'{"reason": 1}']), headers={"content-type": "application/json"})
    assert chunked.status_code == 422
    assert table.status(job_id) == "preparing"
    form = client.post(cancel, content=b"a=b", headers={"content-type": "application/x-www-form-urlencoded"})
    assert form.status_code == 415
    large = client.post(cancel, json={"x": "y" * 100_000})
    assert (large.status_code, large.json()["errors"][0]["pointer"]) == (422, "")
    assert table.status(job_id) == "preparing"
    assert client.post(cancel, json={}).status_code == 200, "an empty object says nothing"


def test_a_retry_refuses_unknown_fields(client: TestClient, table: Table) -> None:
    job_id = client.post("/v1/jobs", json=HELLO).json()["id"]
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    table.finalizer.finalize(completed(claimed.job), expect="owner")
    reply = client.post(f"/v1/jobs/{job_id}/retry", json={"messages": [], "expires_in": 0})
    assert {problem["pointer"] for problem in reply.json()["errors"]} == {"/messages", "/expires_in"}


ODD_IDS = [
    *(":attempts", "%00", "a%00b", "..%2f..", "a%2Fb", "a b", "{x}", "*", "%ff", "é", "job_a:x", "'", "%"),
    "x" * 5_000,
    "-" * 129,
]


@pytest.mark.parametrize("odd", ODD_IDS)
def test_an_id_that_cannot_exist_is_a_404_on_every_route(client: TestClient, odd: str) -> None:
    delivery = client.post("/v1/webhook_secret/test", json={"url": "http://127.0.0.1:9/"}).json()["id"]
    assert client.get(f"/v1/webhook_deliveries/{delivery}").status_code == 200
    for path in (odd, delivery + odd):
        for method, route in (
            ("GET", f"/v1/webhook_deliveries/{path}"),
            ("GET", f"/v1/jobs/{path}"),
            ("DELETE", f"/v1/jobs/{path}"),
            ("POST", f"/v1/jobs/{path}/cancel"),
            ("POST", f"/v1/jobs/{path}/retry"),
            ("GET", f"/v1/jobs/{path}/events"),
            ("GET", f"/v1/jobs/{path}/deliveries"),
            ("POST", f"/v1/jobs/{path}/deliveries/{path}/redeliver"),
            ("GET", f"/v1/models/{path}"),
        ):
            reply = client.request(method, route)
            assert reply.status_code == 404, (method, route[:100], reply.text)
        reply = client.post(f"/v1/uploads/{path}/complete", json={"etags": ["a"]})
        assert reply.status_code == 404, reply.text
    previous = client.post("/v1/jobs", json={**HELLO, "previous_job_id": odd[:64]})
    assert (previous.status_code, previous.json()["errors"][0]["pointer"]) == (422, "/previous_job_id")


def test_a_misspelled_field_is_named_with_the_one_that_was_meant(client: TestClient) -> None:
    reply = client.post("/v1/uploads", json={"byte": 1})
    assert ("/byte", "is not a field of this API; did you mean bytes?") in [
        (problem["pointer"], problem["message"]) for problem in reply.json()["errors"]
    ]
