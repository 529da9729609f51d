"""The object store on a real SeaweedFS, and its errors."""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from jobs.errors import NotInitialized, ObjectStoreUnavailable, RecoveryNeeded
from jobs.lifecycle.bootstrap import initialize
from jobs.objects.client import ObjectNotFound
from jobs.objects.keys import CANARY, request_key
from jobs.objects.store import ObjectStore
from jobs.table.integrity import Integrity
from jobs.table.scripts import connect
from runtime.settings import Settings
from testing.processes.http_server import HttpServer
from testing.table import Table, empty_bucket

INTERNAL_ERROR = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


def test_the_first_of_many_conditional_puts_wins_and_is_not_overwritten(table: Table) -> None:
    wins: list[int] = []

    def put(number: int) -> None:
        if table.object_store.put_if_absent("results/race.json", str(number).encode()):
            wins.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(wins) == 1
    assert table.object_store.get("results/race.json") == str(wins[0]).encode()
    table.object_store.delete("results/race.json")


def test_an_object_that_changed_since_it_was_read_is_not_overwritten(table: Table) -> None:
    store, key = table.object_store, "webhook_secrets/race.json"
    assert not store.put_if_match(key, b"0", "0" * 32), "it does not exist"
    store.put(key, b"1")
    etag = store.stat(key).etag
    assert store.put_if_match(key, b"2", etag)
    assert not store.put_if_match(key, b"3", etag)
    assert store.get(key) == b"2"
    store.delete(key)


def test_a_presigned_url_opens_its_object_without_credentials_and_no_other(table: Table) -> None:
    table.object_store.put("jobs/job_x/0.png", b"picture", "image/png")
    url = table.object_store.presigned_url("jobs/job_x/0.png")
    assert httpx.get(url, timeout=5).content == b"picture"
    assert httpx.get(url.replace("0.png", "1.png"), timeout=5).status_code == 403


def test_presigned_urls_are_signed_for_the_public_endpoint(settings: Settings) -> None:
    public = settings.model_copy(update={"s3_public_endpoint": "https://media.example.com"})
    assert ObjectStore(public).presigned_url("jobs/x").startswith("https://media.example.com/thinkqueue/jobs/x?")


def test_a_missing_object_is_not_reported_as_an_outage(table: Table) -> None:
    with pytest.raises(ObjectNotFound):
        table.object_store.get("requests/none.json")


def test_wrong_credentials_are_reported_as_an_outage_with_the_cause(settings: Settings) -> None:
    wrong = settings.model_copy(update={"s3_access_key": type(settings.s3_access_key)("nobody")})
    with pytest.raises(ObjectStoreUnavailable, match="InvalidAccessKeyId"):
        ObjectStore(wrong).get("requests/none.json")


def test_an_unreachable_store_is_reported_as_an_outage(settings: Settings) -> None:
    down = ObjectStore(settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"}))
    with pytest.raises(ObjectStoreUnavailable):
        down.get("requests/none.json")
    with pytest.raises(ObjectStoreUnavailable):
        down.put_if_absent("results/none.json", b"")


@pytest.fixture
def faulty(settings: Settings, http_server: HttpServer) -> "Faulty":
    return Faulty(settings.model_copy(update={"s3_endpoint": http_server.url("")}), http_server)


@dataclass
class Faulty:
    """A server that answers as SeaweedFS does before its volumes are loaded."""

    settings: Settings
    server: HttpServer

    def tries(self) -> int:
        """Return the number of requests, without those that ask whether the store answers at all."""
        return sum(CANARY not in received.path for received in self.server.received)

    def fail(self, key: str, *, times: int, then: bytes = b"") -> None:
        remaining = [times]

        def reply(request: BaseHTTPRequestHandler) -> None:
            status, body = (500, INTERNAL_ERROR) if remaining[0] > 0 else (200, then)
            remaining[0] -= 1
            request.send_response(status)
            request.send_header("content-type", "application/xml")
            request.send_header("content-length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)

        self.server.answers[f"/{self.settings.s3_bucket}/{key}"] = reply


def test_an_internal_error_of_the_store_is_an_outage_and_not_a_missing_object(faulty: Faulty) -> None:
    faulty.fail("requests/job_a.json", times=10)
    with pytest.raises(ObjectStoreUnavailable, match="InternalError"):
        ObjectStore(faulty.settings).get("requests/job_a.json")
    assert faulty.tries() == 2, "tried, and retried once"
    with pytest.raises(ObjectStoreUnavailable, match="InternalError"):
        ObjectStore(faulty.settings, tries=1).get("requests/job_a.json")
    assert faulty.tries() == 3, "not retried while a client waits for the reply"
    faulty.fail("results/job_a.json", times=10)
    with pytest.raises(ObjectStoreUnavailable):
        ObjectStore(faulty.settings).put_if_absent("results/job_a.json", b"{}")
    assert faulty.tries() == 6, "a conditional PUT is tried three times"


def test_a_request_that_fails_once_with_an_internal_error_is_retried(faulty: Faulty) -> None:
    faulty.fail("requests/job_a.json", times=1, then=b"{}")
    assert ObjectStore(faulty.settings).get("requests/job_a.json") == b"{}"
    faulty.fail("results/job_a.json", times=2)
    assert ObjectStore(faulty.settings).put_if_absent("results/job_a.json", b"{}")


def test_a_first_start_begins_an_epoch_and_a_second_start_keeps_it(settings: Settings) -> None:
    settings = settings.model_copy(update={"s3_bucket": "first-start"})
    epoch = initialize(settings)
    assert initialize(settings) == epoch


def test_an_empty_redis_with_a_full_bucket_needs_recovery(settings: Settings) -> None:
    settings = settings.model_copy(update={"s3_bucket": "wiped"})
    empty_bucket(settings)
    initialize(settings)
    ObjectStore(settings).put(request_key("job_a"), b"{}")
    connect(settings).flushall()
    with pytest.raises(RecoveryNeeded):
        initialize(settings)
    with pytest.raises(NotInitialized):
        Integrity(connect(settings)).require_epoch()
