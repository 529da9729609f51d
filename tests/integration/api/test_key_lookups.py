"""What lookups of API keys cost, for keys that do not exist and while Redis refuses writes."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from jobs.errors import ObjectStoreUnavailable
from jobs.model.job import Stage
from jobs.objects.store import ObjectStore
from jobs.table import keys as redis_keys
from jobs.table.scripts import connect
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from jobs.tenants.key_cache import MAX_LOCAL, KeyCache
from testing.api import HELLO, client_of
from testing.processes.proxy import Proxy, Trap
from testing.processes.servers import Servers
from testing.processes.waiting import TIME_SCALE
from testing.table import Table, completed


@pytest.fixture
def client(table: Table) -> Iterator[TestClient]:
    with client_of(table.settings.model_copy(update={"auth": "keys"})) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def new_key(table: Table, **more: Any) -> tuple[ApiKey, str]:
    return ApiKeyStore(connect(table.settings), table.object_store).create(ApiKey("", "a", **more))


@contextmanager
def full_redis(table: Table) -> Iterator[None]:
    redis = connect(table.settings)
    try:
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) // 2)
        yield
    finally:
        redis.config_set("maxmemory", 0)


def test_unknown_keys_leave_nothing_in_redis_and_are_limited_by_address(client: TestClient, table: Table) -> None:
    _, used = new_key(table)
    _, unused = new_key(table)
    assert client.get("/v1/models", headers=bearer(used)).status_code == 200
    codes = [
        client.get("/v1/models", headers=bearer(f"tq_{secrets.token_urlsafe(32)}")).json()["code"] for _ in range(70)
    ]
    assert codes == ["invalid_api_key"] * 60 + ["too_many_unknown_keys"] * 10
    redis = connect(table.settings)
    assert len(redis.keys(redis_keys.api_key("*"))) == 2, "one cached lookup, for a minute and for hours"
    # Keys that exist get in, whether or not this process or Redis knows them.
    assert client.get("/v1/models", headers=bearer(used)).status_code == 200
    assert client.get("/v1/models", headers=bearer(unused)).status_code == 200
    ApiKeyStore(redis, table.object_store).find(unused)  # as another process does
    assert client.get("/v1/models", headers=bearer(unused)).status_code == 200


def test_a_key_of_the_list_that_was_revoked_is_refused_during_a_flood(client: TestClient, table: Table) -> None:
    key, token = new_key(table)
    for _ in range(70):
        client.get("/v1/models", headers=bearer(f"tq_{secrets.token_urlsafe(32)}"))
    assert client.get("/v1/models", headers=bearer(token)).status_code == 200
    assert ApiKeyStore(connect(table.settings), table.object_store).revoke(key.id)
    assert client.get("/v1/models", headers=bearer(token)).status_code == 401


def without_object_store(table: Table) -> ApiKeyStore:
    settings = table.settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
    return ApiKeyStore(connect(table.settings), ObjectStore(settings, timeout_s=1, tries=1))


def expire_cache(table: Table) -> None:
    """Remove what Redis caches for a minute."""
    redis = connect(table.settings)
    redis.delete(*[name for name in redis.keys(redis_keys.api_key("*")) if not str(name).endswith(":stale")])


def test_a_key_stays_usable_while_the_object_store_is_away(table: Table) -> None:
    key, token = new_key(table)
    with pytest.raises(ObjectStoreUnavailable):
        without_object_store(table).find(token)
    assert ApiKeyStore(connect(table.settings), table.object_store).find(token) == key
    expire_cache(table)
    assert without_object_store(table).find(token) == key


def test_a_revoked_key_stays_refused_while_the_object_store_is_away(table: Table) -> None:
    key, token = new_key(table)
    store = ApiKeyStore(connect(table.settings), table.object_store)
    assert store.find(token) == key
    assert store.revoke(key.id)
    expire_cache(table)
    assert without_object_store(table).find(token) is None


def test_a_lookup_during_a_revocation_does_not_bring_the_key_back(table: Table, servers: Servers) -> None:
    """The key is revoked after the lookup has cached it for a minute, and before it caches it for hours."""
    key, token = new_key(table)
    other, proxy = ApiKeyStore(connect(table.settings), table.object_store), Proxy(servers.valkey.port)
    url = table.settings.redis_url.get_secret_value().replace(f":{servers.valkey.port}/", f":{proxy.port}/")

    def revoke() -> None:
        assert other.revoke(key.id)

    trap = Trap(b":stale", "before", revoke)  # its connection is cut, and the client repeats the call
    proxy.set(trap)
    client = connect(table.settings.model_copy(update={"redis_url": SecretStr(url)}), timeout_s=5 * TIME_SCALE)
    ApiKeyStore(client, table.object_store).find(token)
    proxy.close()
    assert trap.triggered.is_set()
    expire_cache(table)
    assert without_object_store(table).find(token) is None


def test_repeats_of_an_unknown_key_cost_nothing_and_valid_keys_are_not_counted(
    client: TestClient, table: Table
) -> None:
    junk = bearer("x" * 43)
    assert {client.get("/v1/models", headers=junk).status_code for _ in range(100)} == {401}
    for _ in range(65):
        assert client.get("/v1/models", headers=bearer(new_key(table)[1])).status_code == 200


def test_a_key_that_is_created_after_it_was_tried_works_in_the_process_that_creates_it(table: Table) -> None:
    store, token = ApiKeyStore(connect(table.settings), table.object_store), "tq_" + "n" * 40
    assert store.find(token) is None
    assert store.is_known(token) is False
    store.create(ApiKey("", "a"), token)
    assert store.find(token) is not None
    assert store.is_known(token)


def test_what_a_process_remembers_of_unknown_keys_is_bounded(table: Table) -> None:
    cache = KeyCache(connect(table.settings))
    for number in range(MAX_LOCAL + 10):
        cache.put_unknown(str(number))
    assert not cache.is_unknown("0")
    assert cache.is_unknown("10")


def test_reading_cancel_and_delete_work_while_redis_is_out_of_memory(client: TestClient, table: Table) -> None:
    key, token = new_key(table, requests_per_minute=8)
    waiting = client.post("/v1/jobs", json=HELLO, headers=bearer(token)).json()["id"]
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    table.finalizer.finalize(completed(claimed.job), expect="owner")
    ended, waiting = waiting, client.post("/v1/jobs", json=HELLO, headers=bearer(token)).json()["id"]
    redis = connect(table.settings)
    redis.delete(*redis.keys(redis_keys.api_key("*")))
    with full_redis(table):
        assert client.get(f"/v1/jobs/{ended}", headers=bearer(token)).json()["status"] == "completed"
        assert client.get("/v1/jobs", headers=bearer(token)).status_code == 200
        assert client.post("/v1/jobs", json=HELLO, headers=bearer(token)).json()["code"] == "queue_full"
        assert client.post(f"/v1/jobs/{waiting}/cancel", headers=bearer(token)).json()["status"] == "cancelled"
        assert client.delete(f"/v1/jobs/{ended}", headers=bearer(token)).status_code == 204
        # Each process counts for itself.
        codes = [client.get("/v1/models", headers=bearer(token)).status_code for _ in range(5)]
        assert codes == [200] * 3 + [429] * 2
        assert ApiKeyStore(redis, table.object_store).revoke(key.id)
        assert client.get("/v1/models", headers=bearer(token)).status_code == 401
