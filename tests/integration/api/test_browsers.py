"""What web pages of other sites may do with a service, with and without API keys; HEAD and slashes at the end."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from jobs.table.scripts import connect
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from runtime.settings import Settings
from testing.api import HELLO, client_of
from testing.table import Table, completed

ROTATE = "/v1/webhook_secret/rotate"
CALLS = [
    ("GET", "/v1/jobs"),
    ("GET", "/v1/models"),
    ("GET", "/v1/jobs/job_x/events"),
    ("GET", "/v1/usage"),
    ("GET", "/docs/"),
    ("GET", "/openapi.json"),
    ("GET", "/readyz"),
    ("GET", "/healthz"),
    ("POST", "/v1/jobs/job_x/cancel"),
    ("POST", "/v1/uploads"),
    ("POST", ROTATE),
    ("DELETE", "/v1/jobs/job_x"),
    ("HEAD", "/v1/jobs"),
    ("OPTIONS", "/v1/jobs"),
]


def changed(settings: Settings, **more: Any) -> Settings:
    return Settings(**{**settings.model_dump(), **more})


@pytest.fixture
def keyed(table: Table) -> Iterator[TestClient]:
    settings = changed(table.settings, auth="keys", cors_origins="https://app.example.com")
    with client_of(settings) as client:
        token = ApiKeyStore(connect(settings), table.object_store).create(ApiKey("", "a"))[1]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8800", "localhost.evil.example", "203.0.113.5", "x@127.0.0.1", "", "[::2]"]
)
def test_a_keyless_service_answers_no_foreign_host(client: TestClient, host: str) -> None:
    for method, path in CALLS:
        reply = client.request(method, path, headers={"Host": host})
        assert reply.status_code == 421, (method, path)
    assert client.get("/livez", headers={"Host": host}).json()["code"] == "unknown_host"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8800", "localhost.", "127.0.0.1:1", "127.8.9.1", "[::1]:80"])
def test_a_keyless_service_answers_loopback_hosts(client: TestClient, host: str) -> None:
    assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "new-word"},
    ],
)
def test_a_keyless_service_refuses_pages_of_other_sites(client: TestClient, headers: dict[str, str]) -> None:
    before = client.get("/v1/webhook_secret").json()
    for method, path in CALLS:
        reply = client.request(method, path, headers=headers)
        assert reply.status_code == 403, (method, path)
        assert "access-control-allow-origin" not in reply.headers
    assert client.post(ROTATE, headers=headers).json()["code"] == "cross_site_request"
    assert client.get("/v1/webhook_secret").json() == before


def test_pages_of_the_service_itself_and_programs_are_served(client: TestClient) -> None:
    own = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/jobs", json=HELLO, headers=own).status_code == 202
    assert client.post("/v1/jobs", json=HELLO, headers={"Host": "[::1]:8800", "Origin": "http://[::1]:8800"})
    assert client.post(ROTATE, headers=own).status_code == 200
    assert client.post(ROTATE).status_code == 200  # as `curl -X POST` sends it
    assert client.post(ROTATE, headers={"Content-Type": "application/json"}).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/docs/", headers=link).status_code == 200
    assert client.get("/v1/jobs", headers=link).status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_an_empty_body_of_another_type_is_refused(client: TestClient, kind: str) -> None:
    """Old browsers send a form of another site without any header that says so."""
    job_id = client.post("/v1/jobs", json=HELLO).json()["id"]
    for path in (ROTATE, f"/v1/jobs/{job_id}/cancel", f"/v1/jobs/{job_id}/retry"):
        assert client.post(path, headers={"Content-Type": kind}).status_code == 415
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "preparing"


def test_the_docs_page_cannot_be_framed(client: TestClient) -> None:
    assert "frame-ancestors 'none'" in client.get("/docs/").headers["content-security-policy"]


def test_further_hosts_are_a_setting(table: Table) -> None:
    with client_of(changed(table.settings, allowed_hosts="queue.example.com, other.example")) as client:
        for host, status in (("Queue.Example.com:443", 200), ("localhost", 200), ("evil.example", 421)):
            assert client.get("/v1/jobs", headers={"Host": host}).status_code == status
    with client_of(changed(table.settings, allowed_hosts="queue.example.com", auth="keys")) as client:
        for host, status in (("queue.example.com", 401), ("10.0.0.7:8800", 421), ("evil.example", 421)):
            assert client.get("/v1/jobs", headers={"Host": host}).status_code == status
        assert client.get("/livez", headers={"Host": "10.0.0.7:8800"}).status_code == 200  # a probe of Kubernetes
    with client_of(changed(table.settings, auth="keys")) as client:
        assert client.get("/v1/jobs", headers={"Host": "any.example"}).status_code == 401


def test_cors_is_off_by_default(client: TestClient) -> None:
    preflight = {"Origin": "http://localhost", "Access-Control-Request-Method": "POST"}
    reply = client.options("/v1/jobs", headers=preflight)
    assert (reply.status_code, reply.json()["code"]) == (405, "method_not_allowed")
    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_pages_of_configured_origins_may_call_the_api(keyed: TestClient, table: Table) -> None:
    origin = {"Origin": "https://app.example.com"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,idempotency-key"}
    preflight = keyed.options("/v1/jobs", headers={**origin, **asked, "Authorization": ""})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == origin["Origin"]
    for reply in (
        keyed.post("/v1/jobs", json=HELLO, headers=origin),
        keyed.post("/v1/jobs", json={}, headers=origin),
        keyed.get("/v1/jobs", headers={**origin, "Authorization": ""}),
    ):
        assert reply.headers["access-control-allow-origin"] == origin["Origin"], reply.status_code
        assert "X-Request-ID" in reply.headers["access-control-expose-headers"]
    other = keyed.get("/v1/jobs", headers={"Origin": "https://evil.example"})
    assert (other.status_code, other.headers.get("access-control-allow-origin")) == (200, None)
    with client_of(changed(table.settings, cors_origins=origin["Origin"])) as keyless:
        assert keyless.post("/v1/jobs", json=HELLO, headers=origin).status_code == 202
        assert keyless.post("/v1/jobs", json=HELLO, headers={"Origin": "https://evil.example"}).status_code == 403


def test_origins_that_cannot_match_or_open_a_keyless_service_prevent_the_start(table: Table) -> None:
    for origins, message in (("https://a.example/", "is not an origin"), ("a.example", "is not"), ("*", "AUTH=keys")):
        with pytest.raises(ValueError, match=message):
            changed(table.settings, cors_origins=origins)
    assert changed(table.settings, cors_origins="*", auth="keys").cors_origins == ("*",)


def test_head_is_get_without_a_body_on_every_route(client: TestClient, table: Table) -> None:
    job_id = client.post("/v1/jobs", json=HELLO).json()["id"]
    job = table.store.get(job_id)
    assert job is not None
    waiting = f"/v1/jobs/{job_id}/events"
    assert (client.head(waiting).status_code, client.head(waiting).content) == (200, b"")
    claimed = table.claim(job.stage)
    assert claimed is not None
    table.finalizer.finalize(completed(claimed.job), expect="owner")
    paths = ["/livez", "/readyz", "/docs", "/docs/", "/openapi.json", "/v1/jobs", "/v1/models", "/v1/models/pocket"]
    paths += ["/v1/usage", "/v1/autoscale", "/v1/webhook_secret", "/v1/jobs/none", "/nothing"]
    paths += [f"/v1/jobs/{job_id}{more}" for more in ("", "/events", "/deliveries")]
    for path in paths:
        get, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert head.headers["content-type"] == get.headers["content-type"], path
    assert client.head(f"/v1/jobs/{job_id}/cancel").status_code == 405


def test_a_slash_at_the_end_of_a_path_does_not_matter(client: TestClient) -> None:
    reply = client.post("/v1/jobs/", json=HELLO, follow_redirects=False)
    assert reply.status_code == 202
    job_id = reply.json()["id"]
    for path in ("/v1/jobs/", f"/v1/jobs/{job_id}/", "/v1/models/", "/livez/"):
        assert client.get(path, follow_redirects=False).status_code == 200, path
    assert client.post(f"/v1/jobs/{job_id}/cancel/", follow_redirects=False).status_code == 200
    assert client.get("/v1/jobs//").json()["code"] == "not_found"
