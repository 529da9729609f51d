"""API keys: authentication, rate limits, permissions, and the separation of tenants."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from jobs.lifecycle.bootstrap import initialize
from jobs.model.job import PRIORITIES, Stage
from jobs.objects.store import ObjectStore
from jobs.table.keys import api_key
from jobs.table.scripts import connect
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from runtime.settings import Settings
from testing.api import HELLO, client_of
from testing.processes.proxy import Proxy, Trap
from testing.processes.servers import Servers
from testing.processes.waiting import TIME_SCALE
from testing.table import Table, completed


@pytest.fixture
def keys(table: Table) -> ApiKeyStore:
    return ApiKeyStore(connect(table.settings), table.object_store)


@pytest.fixture
def client(table: Table) -> Iterator[TestClient]:
    with client_of(table.settings.model_copy(update={"auth": "keys"})) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def make(keys: ApiKeyStore, tenant: str, **more: Any) -> dict[str, str]:
    return bearer(keys.create(ApiKey("", tenant, **more))[1])


def test_only_a_service_with_keys_may_listen_beyond_loopback(table: Table) -> None:
    values = {**table.settings.model_dump(), "api_host": "0.0.0.0"}
    assert Settings(**{**values, "auth": "keys"}).api_host == "0.0.0.0"
    with pytest.raises(ValueError, match="AUTH=keys"):
        Settings(**values)


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer tq_short", "Basic YTpi", "Bearer " + "x" * 43])
def test_without_a_valid_key_every_request_is_a_401(client: TestClient, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", "/v1/nothing"), ("GET", "/v1/models")):
        reply = client.request(method, path, headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (401, "invalid_api_key")
        assert reply.headers["www-authenticate"] == "Bearer"
    assert {client.get(path).status_code for path in ("/livez", "/readyz", "/healthz")} == {200}


@pytest.mark.parametrize(
    ("authorization", "says"),
    [
        (None, "No API key was sent"),
        ("  ", "No API key was sent"),
        ("Basic YTpi", "does not start with `Bearer `"),
        ("tq_" + "x" * 43, "does not start with `Bearer `"),
        ("Bearer", "has no API key after"),
        ("Bearer tq_short", "is malformed"),
        ("Bearer tq_ with spaces and more than enough characters", "is malformed"),
        ("Bearer tq_" + "x" * 43, "is not known here"),
    ],
)
def test_a_401_says_whether_the_key_is_missing_malformed_or_unknown(
    client: TestClient, authorization: str | None, says: str
) -> None:
    reply = client.get("/v1/jobs", headers={} if authorization is None else {"Authorization": authorization})
    assert says in reply.json()["detail"]
    assert "xxx" not in reply.text, "a key is never repeated"


def test_another_tenants_objects_are_a_404_on_every_route(client: TestClient, keys: ApiKeyStore, table: Table) -> None:
    mine, theirs = make(keys, "a"), make(keys, "b")
    body = {**HELLO, "callback": {"url": "https://example.com/"}, "metadata": {"k": "v"}}
    job_id = client.post("/v1/jobs", json=body, headers=mine).json()["id"]
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    table.finalizer.finalize(completed(claimed.job), expect="owner")
    upload = client.post("/v1/uploads", json={"bytes": 3}, headers=mine).json()["id"]
    test_event = client.post("/v1/webhook_secret/test", json={"url": "https://example.com/"}, headers=mine).json()["id"]

    routes = [
        ("GET", f"/v1/jobs/{job_id}"),
        ("GET", f"/v1/jobs/{job_id}/events"),
        ("POST", f"/v1/jobs/{job_id}/cancel"),
        ("POST", f"/v1/jobs/{job_id}/retry"),
        ("DELETE", f"/v1/jobs/{job_id}"),
        ("GET", f"/v1/webhook_deliveries/evt_{job_id}_completed"),
        ("GET", f"/v1/webhook_deliveries/{test_event}"),
    ]
    for method, path in routes:
        assert client.request(method, path, headers=theirs).status_code == 404, (method, path)
    reply = client.post(f"/v1/uploads/{upload}/complete", json={"etags": ["x"]}, headers=theirs)
    assert reply.status_code == 404
    content = [{"type": "image_url", "image_url": {"url": f"upload:{upload}"}}]
    reply = client.post("/v1/jobs", json={"messages": [{"role": "user", "content": content}]}, headers=theirs)
    assert "does not exist or has expired" in reply.text
    for query in ({}, {"metadata[k]": "v"}, {"after": job_id}):
        assert job_id not in str(client.get("/v1/jobs", params=query, headers=theirs).json().get("data", []))
    assert client.get("/v1/usage", headers=theirs).json()["data"] == []

    # The owner sees all of it; the deletion comes last.
    for method, path in (*routes[5:], *routes[:5]):
        assert client.request(method, path, headers=mine).status_code < 300, (method, path)


def test_the_same_idempotency_key_of_two_tenants_creates_two_jobs(client: TestClient, keys: ApiKeyStore) -> None:
    ids = {
        client.post("/v1/jobs", json=HELLO, headers={**make(keys, tenant), "Idempotency-Key": "k"}).json()["id"]
        for tenant in "ab"
    }
    assert len(ids) == 2


def test_a_key_permits_its_priorities_only(client: TestClient, keys: ApiKeyStore) -> None:
    body = {**HELLO, "priority": "high"}
    reply = client.post("/v1/jobs", json=body, headers=make(keys, "a"))
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    reply = client.post("/v1/jobs", json=body, headers=make(keys, "a", priorities=PRIORITIES))
    assert (reply.status_code, reply.json()["priority"]) == (202, "high")


def test_a_tenant_at_its_limit_of_open_jobs_gets_a_429(client: TestClient, keys: ApiKeyStore, table: Table) -> None:
    headers = make(keys, "a", max_open_jobs=2)
    for _ in range(2):
        assert client.post("/v1/jobs", json=HELLO, headers=headers).status_code == 202
    reply = client.post("/v1/jobs", json=HELLO, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (429, "too_many_jobs")
    assert client.post("/v1/jobs", json=HELLO, headers=make(keys, "b")).status_code == 202
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    table.finalizer.finalize(completed(claimed.job), expect="owner")
    assert client.post("/v1/jobs", json=HELLO, headers=headers).status_code == 202


def test_the_rate_limit_of_a_key_is_enforced_and_reported(client: TestClient, keys: ApiKeyStore) -> None:
    headers = make(keys, "a", requests_per_minute=3)
    left = [client.get("/v1/models", headers=headers).headers["x-ratelimit-remaining-requests"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    reply = client.get("/v1/models", headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert reply.headers["ratelimit"].startswith('"key";r=0;t=')
    assert client.get("/v1/models", headers=make(keys, "a")).status_code == 200


def test_a_key_cannot_use_the_requests_of_a_minute_at_once(client: TestClient, keys: ApiKeyStore) -> None:
    headers = make(keys, "a", requests_per_minute=60)
    replies = [client.get("/v1/models", headers=headers) for _ in range(11)]
    assert [reply.status_code for reply in replies] == [200] * 10 + [429]
    assert replies[0].headers["ratelimit-policy"] == '"key";q=10;w=10'
    assert replies[-1].json()["detail"].startswith("The limit of 10 requests in 10 s is reached; retry in ")
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 10


def test_a_revoked_key_stops_at_once_and_a_rotated_one_later(client: TestClient, keys: ApiKeyStore) -> None:
    key, token = keys.create(ApiKey("", "a"))
    assert client.get("/v1/models", headers=bearer(token)).status_code == 200
    rotated = keys.rotate(key.id)
    assert rotated is not None
    assert client.get("/v1/models", headers=bearer(rotated[1])).status_code == 200
    assert client.get("/v1/models", headers=bearer(token)).status_code == 200
    (old,) = [one for one in keys.all() if one.id == key.id]
    assert old.expires_ms > 0
    assert keys.revoke(key.id)
    assert client.get("/v1/models", headers=bearer(token)).status_code == 401
    assert not keys.revoke(key.id)


def test_no_key_is_stored_in_plain_text(keys: ApiKeyStore, table: Table) -> None:
    _, token = keys.create(ApiKey("", "a"))
    stored = b"".join(table.object_store.get(name) + name.encode() for name in table.object_store.list_keys("keys/"))
    assert token.encode() not in stored
    assert token not in str([connect(table.settings).get(name) for name in connect(table.settings).keys(api_key("*"))])


def test_keys_from_a_file_are_created_once(table: Table, keys: ApiKeyStore, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    token = "tq_" + "a" * 30
    path.write_text(json.dumps([{"key": token, "tenant": "acme", "priorities": ["high"]}]), "utf-8")
    for _ in range(2):
        with client_of(table.settings.model_copy(update={"auth": "keys", "api_keys_file": path})) as client:
            assert client.get("/v1/models", headers=bearer(token)).status_code == 200
    assert len(keys.all()) == 1
    path.write_text(json.dumps([{"key": token, "tenant": "Not One"}]), "utf-8")
    with pytest.raises(ValueError, match="entry 0: tenant 'Not One'") as caught:
        keys.seed(path)
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_open_jobs", "12"), ("requests_per_minute", -1), ("expires_ms", "never"), ("created_ms", None), ("name", 5)],
)
def test_a_value_of_another_type_in_the_file_is_refused(
    keys: ApiKeyStore, tmp_path: Path, name: str, value: Any
) -> None:
    """The key would be stored, and each request with it would fail."""
    entry = {"key": "tq_" + "a" * 30, "tenant": "acme", name: value}
    with pytest.raises(ValueError, match=f"entry 0: {name} must be"):
        keys.seed(write_keys(tmp_path / "keys.json", entry))
    assert keys.all() == []


def write_keys(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text(json.dumps(entries), "utf-8")
    return path


def test_a_key_of_a_file_that_was_revoked_stays_revoked(table: Table, keys: ApiKeyStore, tmp_path: Path) -> None:
    """Whatever the file says about it, and although its cached lookup has expired."""
    token, others = "tq_" + "a" * 30, ApiKeyStore(connect(table.settings), table.object_store)
    keys.seed(write_keys(tmp_path / "keys.json", {"key": token, "tenant": "acme"}))
    (key,) = keys.all()
    assert keys.revoke(key.id)
    for store in (keys, others):
        for tenant in ("acme", "other"):
            connect(table.settings).flushdb()
            initialize(table.settings)
            store.seed(write_keys(tmp_path / "keys.json", {"key": token, "tenant": tenant}))
            assert store.find(token) is None
            assert store.all() == []


def test_a_key_of_a_file_that_was_rotated_and_has_expired_does_not_return(
    table: Table, keys: ApiKeyStore, tmp_path: Path
) -> None:
    token = "tq_" + "a" * 30
    path = write_keys(tmp_path / "keys.json", {"key": token, "tenant": "acme"})
    keys.seed(path)
    (key,) = keys.all()
    rotated = keys.rotate(key.id)
    assert rotated is not None
    keys.create(replace(key, expires_ms=1), token)  # as a day later
    keys.seed(path)
    assert keys.find(token) is None
    assert keys.find(rotated[1]) is not None
    assert keys.rotate(key.id) is not None
    assert keys.find(token) is None, "a second rotation does not bring it back"


def test_a_rotation_at_the_same_time_does_not_bring_a_revoked_key_back(table: Table, keys: ApiKeyStore) -> None:
    """The rotation has read the key before it was revoked, and writes it afterwards."""
    key, token = keys.create(ApiKey("", "a"))
    assert keys.revoke(key.id)
    keys.create(key, token)  # what the rotation writes
    connect(table.settings).flushdb()
    assert keys.find(token) is None
    assert keys.all() == []
    assert keys.rotate(key.id) is None


def test_rotations_at_the_same_time_do_not_prolong_a_key(table: Table, keys: ApiKeyStore, servers: Servers) -> None:
    """An earlier rotation, or an operator, has shortened the key after this rotation has read it."""
    key, token = keys.create(ApiKey("", "a"))
    soon_ms = time.time_ns() // 1_000_000 + 60_000
    proxy = Proxy(servers.seaweedfs.port)

    def shorten() -> None:
        keys.create(replace(key, expires_ms=soon_ms), token)

    trap = Trap(b"PUT /thinkqueue/keys/", "before", shorten)
    proxy.set(trap)
    settings = table.settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{proxy.port}"})
    rotated = ApiKeyStore(connect(table.settings), ObjectStore(settings, timeout_s=5 * TIME_SCALE)).rotate(key.id)
    proxy.close()
    assert trap.triggered.is_set()
    assert rotated is not None
    found = {each.id: each.expires_ms for each in keys.all()}
    assert found == {key.id: soon_ms, rotated[0].id: 0}


def test_a_file_does_not_change_a_key_that_exists(table: Table, keys: ApiKeyStore, tmp_path: Path) -> None:
    token = "tq_" + "a" * 30
    for tenant in ("acme", "other"):
        keys.seed(write_keys(tmp_path / "keys.json", {"key": token, "tenant": tenant}))
    found = keys.find(token)
    assert found is not None
    assert found.tenant == "acme"
