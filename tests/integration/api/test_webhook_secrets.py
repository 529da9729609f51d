"""Webhook secrets: shown once, two signatures for 24 hours, and test events."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import pytest
from fastapi.testclient import TestClient
from standardwebhooks import Webhook, WebhookVerificationError

from jobs.model.documents.idempotency import key_digest
from jobs.model.retention import DAY_MS
from jobs.objects import keys
from jobs.objects.documents import save_json
from jobs.tenants import keyed_rotation
from jobs.tenants.keyed_rotation import rotate_once
from jobs.tenants.webhook_secrets import MAX_OLD_SECRETS, MAX_ROTATION_IDS, NewSecret, SecretVersion, WebhookSecrets
from testing.processes.http_server import HttpServer
from testing.table import Table
from worker.egress.client import EgressClient
from worker.keeper.delivery.deliverer import Deliverer


def deliver(table: Table) -> None:
    async def attempt() -> None:
        async with EgressClient(table.settings.egress_allow) as egress:
            webhooks = Deliverer(table.store, table.deliveries, table.object_store, table.settings, egress)
            for due in table.deliveries.claim_due(claim="k", limit=10):
                await webhooks.deliver(due, claim="k")

    asyncio.run(attempt())


def test_a_secret_is_shown_once_and_the_old_one_keeps_signing(
    client: TestClient, table: Table, http_server: HttpServer
) -> None:
    old = WebhookSecrets(table.object_store, table.settings).current("default")
    assert client.get("/v1/webhook_secret").json()["secret"] is None
    rotated = client.post("/v1/webhook_secret/rotate").json()
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != old
    assert client.get("/v1/webhook_secret").json() == {**rotated, "secret": None}

    url = http_server.answer("/hook", body=b"thanks")
    event = client.post("/v1/webhook_secret/test", json={"url": url, "event_type": "job.failed"}).json()
    assert event["state"] == "pending"
    deliver(table)
    (received,) = http_server.received
    for secret in (rotated["secret"], old):
        body = Webhook(secret).verify(received.body, received.headers)
        assert (body["type"], body["data"]["test"]) == ("job.failed", True)
    ledger = client.get(f"/v1/webhook_deliveries/{event['id']}").json()
    assert ledger["state"] == "delivered"
    # The reply is not shown: the address of the receiver is not public.
    assert [(attempt["status"], attempt["reply"]) for attempt in ledger["attempts"]] == [(200, "")]

    http_server.received.clear()
    body = {"keep_old_secret_active_for_24_hours": False}
    newest = client.post("/v1/webhook_secret/rotate", json=body).json()["secret"]
    client.post("/v1/webhook_secret/test", json={"url": url})
    deliver(table)
    (received,) = http_server.received
    Webhook(newest).verify(received.body, received.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(rotated["secret"]).verify(received.body, received.headers)


def test_each_tenant_has_its_own_secret(table: Table) -> None:
    secrets = WebhookSecrets(table.object_store, table.settings)
    assert len({secrets.current(tenant) for tenant in ("default", "a", "b")}) == 3
    assert table.settings.webhook_secret.get_secret_value() not in map(secrets.current, ("default", "a", "b")), (
        "the secret from which all others are derived is nobody's"
    )
    assert secrets.current("a") == WebhookSecrets(table.object_store, table.settings).current("a")


def test_a_rotation_can_be_repeated_after_a_lost_reply(client: TestClient) -> None:
    first = client.post("/v1/webhook_secret/rotate", headers={"Idempotency-Key": "k"})
    for body in (None, {}, {"keep_old_secret_active_for_24_hours": True}):
        again = client.post("/v1/webhook_secret/rotate", headers={"Idempotency-Key": '"k"'}, json=body)
        assert again.json() == first.json()
        assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert client.get("/v1/webhook_secret").json()["version"] == 1

    other_body = {"keep_old_secret_active_for_24_hours": False}
    refused = client.post("/v1/webhook_secret/rotate", headers={"Idempotency-Key": "k"}, json=other_body)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_conflict")

    second = client.post("/v1/webhook_secret/rotate", headers={"Idempotency-Key": "k2"}).json()
    assert (second["version"], second["secret"] != first.json()["secret"]) == (2, True)
    late = client.post("/v1/webhook_secret/rotate", headers={"Idempotency-Key": "k"})
    assert (late.status_code, late.json()["code"]) == (422, "idempotency_conflict")
    assert client.post("/v1/webhook_secret/rotate").json()["version"] == 3, "without a key every call rotates"


def test_an_interrupted_rotation_is_completed_by_its_repeat(client: TestClient, table: Table) -> None:
    """The process died after it had stored what the key stands for."""
    secrets = WebhookSecrets(table.object_store, table.settings)
    place = keys.idempotency_key(key_digest("default", keyed_rotation.PREFIX + "k"), 0)
    save_json(table.object_store, place, {"version": 1, "keep_old": True})
    assert client.post("/v1/webhook_secret/rotate", headers={"Idempotency-Key": "k"}).json()["version"] == 1
    assert secrets.version("default").version == 1


def test_each_old_secret_signs_until_its_own_time(table: Table) -> None:
    secrets = WebhookSecrets(table.object_store, table.settings)
    known = [secrets.current("a"), *(secrets.rotate("a", keep_old=True).secret for _ in range(3))]
    assert secrets.signing_secrets("a") == known[::-1]
    newest = secrets.rotate("a", keep_old=False).secret
    assert secrets.signing_secrets("a") == [newest]
    for _ in range(20):
        secrets.rotate("a", keep_old=True)
    assert len(secrets.signing_secrets("a")) == 1 + MAX_OLD_SECRETS


CALLERS = MAX_OLD_SECRETS
"""As many as there are old secrets that sign beside the newest, so that none of them ends early."""


def at_once(call: Callable[[int], object]) -> None:
    """Run a call in several threads that start together."""
    start = threading.Barrier(CALLERS)

    def run(number: int) -> None:
        start.wait(10)
        call(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)


def test_rotations_at_the_same_time_return_secrets_that_all_sign(table: Table) -> None:
    secrets, new = WebhookSecrets(table.object_store, table.settings), list[NewSecret]()
    at_once(lambda _: new.append(secrets.rotate("a", keep_old=True)))
    returned = {each.version.version: each.secret for each in new}
    assert len(set(returned.values())) == CALLERS, "each call has its own secret"
    assert set(returned.values()) < set(secrets.signing_secrets("a")), "and the first secret signs, too"
    assert all(secret == secrets.derive("a", version) for version, secret in returned.items())
    assert secrets.version("a").version == CALLERS


def rotate_one_of_many(secrets: WebhookSecrets, tenant: str, number: int) -> NewSecret:
    """Rotate; the first caller ends all old secrets."""
    return secrets.rotate(tenant, keep_old=number > 0)


def test_a_rotation_that_ends_old_secrets_is_not_undone_by_others_at_the_same_time(table: Table) -> None:
    secrets = WebhookSecrets(table.object_store, table.settings)
    for tenant in "abcdefgh":  # one of them alone may be lucky in its order
        leaked = secrets.rotate(tenant, keep_old=True).secret
        at_once(partial(rotate_one_of_many, secrets, tenant))
        assert leaked not in secrets.signing_secrets(tenant)


def test_one_idempotency_key_rotates_once_when_its_calls_come_at_the_same_time(table: Table) -> None:
    secrets, replies = WebhookSecrets(table.object_store, table.settings), list[tuple[NewSecret, bool]]()
    at_once(lambda _: replies.append(rotate_once(table.object_store, secrets, "a", "k", keep_old=True)))
    assert {new.secret for new, _ in replies} == {secrets.current("a")}
    assert [is_replay for _, is_replay in replies].count(False) == 1
    assert secrets.version("a").version == 1


def rotate_with_own_key(table: Table, tenant: str, replies: dict[int, tuple[NewSecret, bool]], number: int) -> None:
    secrets = WebhookSecrets(table.object_store, table.settings)
    replies[number] = rotate_once(table.object_store, secrets, tenant, f"k{number}", keep_old=number > 0)


def test_different_idempotency_keys_at_the_same_time_do_not_share_a_secret(table: Table) -> None:
    """A call that ends the old secrets must not receive the secret of one that keeps them."""
    secrets = WebhookSecrets(table.object_store, table.settings)
    for tenant in "abcd":
        leaked, replies = secrets.rotate(tenant, keep_old=True).secret, dict[int, tuple[NewSecret, bool]]()
        at_once(partial(rotate_with_own_key, table, tenant, replies))
        assert len({new.secret for new, _ in replies.values()}) == CALLERS
        assert not any(is_replay for _, is_replay in replies.values())
        assert leaked not in secrets.signing_secrets(tenant)


def test_a_rotation_says_the_version_that_it_created(table: Table) -> None:
    """Its secret verifies webhooks of that version, and another rotation may have followed before the reply is sent."""
    secrets = WebhookSecrets(table.object_store, table.settings)
    first = secrets.rotate("a", keep_old=False)
    secrets.rotate("a", keep_old=True)
    assert (first.version.version, first.version.old_until_ms) == (1, 0)


@pytest.mark.parametrize("others", [1, MAX_ROTATION_IDS + 1])
def test_a_planned_rotation_happens_after_others_unless_nobody_can_tell_whether_it_did(
    client: TestClient, table: Table, others: int
) -> None:
    place = keys.idempotency_key(key_digest("default", keyed_rotation.PREFIX + "k"), 0)
    save_json(table.object_store, place, {"version": 1, "keep_old": True})
    for _ in range(others):
        client.post("/v1/webhook_secret/rotate").raise_for_status()
    reply = client.post("/v1/webhook_secret/rotate", headers={"Idempotency-Key": "k"})
    if others == 1:
        assert (reply.json()["version"], "idempotent-replayed" in reply.headers) == (2, False)
    else:
        assert (reply.status_code, reply.json()["code"]) == (422, "idempotency_conflict")


def test_an_old_secret_ends_at_its_own_time_and_a_stored_version_of_0_1_is_read() -> None:
    first = SecretVersion().next(0, keep_old=True, rotation="r1")
    second = first.next(DAY_MS // 2, keep_old=True, rotation="r2")
    assert second.signing_versions(DAY_MS // 2) == [2, 1, 0]
    assert second.signing_versions(DAY_MS) == [2, 1]
    assert second.signing_versions(DAY_MS * 3 // 2) == [2]
    assert second.old_until_ms == DAY_MS * 3 // 2
    assert SecretVersion.from_fields(asdict(second)) == second
    stored = SecretVersion.from_fields({"version": 3, "rotated_ms": 5, "old_until_ms": 9})
    assert (stored.signing_versions(8), stored.signing_versions(9)) == ([3, 2], [3])
