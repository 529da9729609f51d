"""A store that fails for one object is not away; objects are read as they are stored, within their recorded size."""

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from jobs.errors import ObjectStoreUnavailable, ObjectStoreUnsuitable, ObjectUnavailable
from jobs.lifecycle.bootstrap import wait_until_ready
from jobs.lifecycle.recovery.reconcile import Recovery
from jobs.objects.client import ObjectChanged, ObjectNotFound
from jobs.objects.keys import request_key
from jobs.objects.presign import presigned_put
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from jobs.tenants.webhook_secrets import WebhookSecrets
from testing.processes.fork_server import ForkedProcess
from testing.processes.proxy import Fault, Proxy, Trap
from testing.processes.servers import Servers, free_ports
from testing.processes.waiting import TIME_SCALE, wait_until
from testing.table import Table
from tests.integration.jobs.test_reader import request

KEY = "jobs/job_a/media/x"
TIMEOUT_S = 0.4 * TIME_SCALE
ENCODINGS = ["gzip", "gzip, gzip", "deflate", "br", "zstd", "aws-chunked", "x-gzip", "identity", "utf-8", "gzip," * 800]
INTERNAL_ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/xml\r\ncontent-length: 46\r\n\r\n"
    b"<Error><Code>InternalError</Code></Error>     "
)
FORBIDDEN = INTERNAL_ERROR.replace(b"500 Internal Server Error", b"403 Forbidden").replace(
    b"InternalError", b"AccessDenied "
)
FAULTS = {
    "an error of the server": Fault(b"/media/x", reply=INTERNAL_ERROR),
    "a refusal": Fault(b"/media/x", reply=FORBIDDEN),
    "a reset": Fault(b"/media/x", reply=b""),
    "nonsense": Fault(b"/media/x", reply=b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a cut body": Fault(b"/media/x", cut_after=600),
    "no reply": Fault(b"/media/x", stalls=True),
}


@dataclass
class Front:
    """A proxy before the store, and a client that uses it."""

    proxy: Proxy
    store: ObjectStore
    servers: Servers


@pytest.fixture
def front(table: Table, servers: Servers) -> Iterator[Front]:
    proxy = Proxy(servers.seaweedfs.port)
    settings = table.settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{proxy.port}"})
    yield Front(proxy, ObjectStore(settings, timeout_s=TIMEOUT_S), servers)
    proxy.close()


@pytest.mark.parametrize("name", FAULTS)
def test_a_store_that_fails_for_one_object_is_not_away(front: Front, tmp_path: Path, name: str) -> None:
    front.store.put(KEY, b"x" * 2_000)
    front.proxy.faults = [FAULTS[name]]
    with pytest.raises(ObjectUnavailable, match=KEY):
        front.store.get(KEY)
    with pytest.raises(ObjectUnavailable, match=KEY):
        front.store.download(KEY, tmp_path / "file", max_bytes=10_000)
    front.proxy.faults = []
    assert front.store.get(KEY) == b"x" * 2_000


@pytest.mark.parametrize("fault", [Fault(b"HTTP/1.1", reply=INTERNAL_ERROR), Fault(b"HTTP/1.1", stalls=True)])
def test_a_store_that_answers_for_no_object_is_away(front: Front, fault: Fault) -> None:
    front.proxy.faults = [fault]
    with pytest.raises(ObjectStoreUnavailable) as error:
        front.store.get(KEY)
    assert not isinstance(error.value, ObjectUnavailable)


def test_the_api_does_not_ask_for_another_object_while_a_client_waits(table: Table, front: Front) -> None:
    shared = ObjectStore(
        table.settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{front.proxy.port}"}),
        timeout_s=TIMEOUT_S,
        tries=1,
        is_shared=True,
    )
    front.store.put(KEY, b"x")
    front.proxy.faults = [Fault(b"/media/x", stalls=True)]
    for _ in range(3):
        with pytest.raises(ObjectStoreUnavailable) as error:
            shared.get(KEY)
        assert not isinstance(error.value, ObjectUnavailable)
        shared.put("jobs/job_b/media/y", b"other calls are made")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("content", [b"not compressed at all", gzip.compress(bytes(2**20))], ids=["junk", "bomb"])
def test_content_encodings_are_never_decoded(table: Table, tmp_path: Path, encoding: str, content: bytes) -> None:
    url = presigned_put(
        table.settings, table.object_store.credentials.retrieve(), KEY, size=len(content), lifetime=timedelta(minutes=5)
    )
    assert httpx.put(url, content=content, headers={"content-encoding": encoding}).status_code == 200
    assert table.object_store.stat(KEY).bytes == len(content)
    assert table.object_store.get(KEY) == content
    table.object_store.download(KEY, tmp_path / "file", max_bytes=len(content), exact_bytes=len(content))
    assert (tmp_path / "file").read_bytes() == content


def test_a_copy_has_none_of_the_headers_that_the_client_chose(table: Table) -> None:
    url = presigned_put(
        table.settings, table.object_store.credentials.retrieve(), KEY, size=4, lifetime=timedelta(minutes=5)
    )
    chosen = {"content-encoding": "gzip", "cache-control": "max-age=9", "content-disposition": "attachment"}
    assert httpx.put(url, content=b"abcd", headers={**chosen, "content-type": "text/html"}).status_code == 200
    table.object_store.copy(KEY, "jobs/job_b/media/x", etag=table.object_store.stat(KEY).etag)
    headers = head(table, "jobs/job_b/media/x")
    assert not chosen.keys() & headers.keys()
    assert headers["content-type"] == "application/octet-stream"


def head(table: Table, key: str) -> httpx.Headers:
    return httpx.get(table.object_store.presigned_url(key), timeout=5).headers


def test_headers_that_would_change_what_is_stored_are_refused(table: Table) -> None:
    """With ``x-amz-copy-source``, a client could read the objects of other tenants."""
    table.object_store.put("results/secret.json", b"4321")
    url = presigned_put(
        table.settings, table.object_store.credentials.retrieve(), KEY, size=4, lifetime=timedelta(minutes=5)
    )
    source = f"/{table.settings.s3_bucket}/results/secret.json"
    assert httpx.put(url, content=b"abcd", headers={"x-amz-copy-source": source}).status_code == 403
    assert httpx.put(url, content=b"abcd", headers={"x-amz-acl": "public-read"}).status_code == 403
    assert not table.object_store.exists(KEY)


def test_reading_ends_as_soon_as_an_object_is_not_the_recorded_one(table: Table, tmp_path: Path) -> None:
    store, file = table.object_store, tmp_path / "file"
    store.put(KEY, b"x" * 1_000)
    with pytest.raises(ObjectChanged):
        store.get(KEY, max_bytes=999)
    for limits in (
        {"max_bytes": 999},
        {"max_bytes": 2_000, "exact_bytes": 999},
        {"max_bytes": 2_000, "exact_bytes": 1_001},
    ):
        with pytest.raises(ObjectChanged):
            store.download(KEY, file, **limits)
        assert file.stat().st_size == 0
    with pytest.raises(ObjectChanged):
        store.copy(KEY, "jobs/job_b/media/x", etag="0" * 32)
    assert not store.exists("jobs/job_b/media/x")
    with pytest.raises(ObjectNotFound):
        store.copy("jobs/none", "jobs/job_b/media/x", etag=None)


def test_an_endless_body_without_a_length_is_cut_at_the_limit(front: Front, tmp_path: Path) -> None:
    endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b"y" * 2**20
    front.proxy.faults = [Fault(b"/media/x", reply=endless)]
    with pytest.raises(ObjectChanged):
        front.store.download(KEY, tmp_path / "file", max_bytes=2**18)
    assert (tmp_path / "file").stat().st_size <= 2**18


def test_a_large_conditional_put_of_an_existing_object_is_refused_and_not_an_outage(table: Table) -> None:
    body, other = bytes(8 * 2**20), b"\1" * 8 * 2**20
    assert table.object_store.put_if_absent("requests/large.json", body)
    for again in (body, other):
        assert not table.object_store.put_if_absent("requests/large.json", again)
    assert table.object_store.get("requests/large.json") == body


def test_an_unknown_outcome_of_a_large_conditional_put_is_looked_up(front: Front) -> None:
    """The store has written the object, and its reply is lost."""
    body = bytes(2**18)
    front.proxy.faults = [Fault(b"PUT /thinkqueue/requests/lost.json", cut_after=0)]
    assert front.store.put_if_absent("requests/lost.json", body)


def lose_reply(front: Front, request: bytes) -> Trap:
    """Let the store answer the next such request, and close the connection before the answer arrives."""
    trap = Trap(request, "after", lambda: None)
    front.proxy.set(trap)
    return trap


def test_a_conditional_put_whose_reply_is_lost_is_not_taken_for_that_of_another(front: Front) -> None:
    lost = lose_reply(front, b"PUT /thinkqueue/requests/small.json")
    assert front.store.put_if_absent("requests/small.json", b"mine")
    assert lost.triggered.is_set()
    lost = lose_reply(front, b"PUT /thinkqueue/requests/small.json")
    assert not front.store.put_if_absent("requests/small.json", b"another's")
    assert lost.triggered.is_set()
    assert front.store.get("requests/small.json") == b"mine"


def test_a_put_with_if_match_whose_reply_is_lost_is_not_taken_for_that_of_another(front: Front) -> None:
    front.store.put(KEY, b"first")
    etag = front.store.stat(KEY).etag
    lost = lose_reply(front, b"If-Match")
    assert front.store.put_if_match(KEY, b"mine", etag)
    assert lost.triggered.is_set()
    lost = lose_reply(front, b"If-Match")
    assert not front.store.put_if_match(KEY, b"another's", etag)
    assert lost.triggered.is_set()
    assert front.store.get(KEY) == b"mine"


def test_a_put_with_if_match_of_a_deleted_object_writes_nothing_as_aws_answers(front: Front) -> None:
    body = b"<Error><Code>NoSuchKey</Code></Error>"
    head = b"HTTP/1.1 404 Not Found\r\ncontent-type: application/xml\r\ncontent-length: %d\r\n\r\n" % len(body)
    front.proxy.faults = [Fault(b"If-Match", reply=head + body)]
    assert not front.store.put_if_match(KEY, b"mine", "0" * 32)


NOT_IMPLEMENTED = b"HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("reply", [NOT_IMPLEMENTED, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"])
def test_a_store_without_if_match_is_usable_and_only_its_own_probe_refuses_it(
    table: Table, front: Front, reply: bytes
) -> None:
    front.proxy.faults = [Fault(b"If-Match", reply=reply)]
    wait_until_ready(table.store, front.store)
    with pytest.raises(ObjectStoreUnsuitable, match="If-Match"):
        front.store.probe_if_match()


def test_a_rotation_says_that_the_store_does_not_implement_if_match(table: Table, front: Front) -> None:
    secrets = WebhookSecrets(front.store, table.settings)
    secrets.rotate("acme", keep_old=True)
    front.proxy.faults = [Fault(b"If-Match", reply=NOT_IMPLEMENTED)]
    with pytest.raises(ObjectStoreUnsuitable, match="does not implement If-Match"):
        secrets.rotate("acme", keep_old=True)
    assert secrets.version("acme").version == 1


def test_a_lost_reply_does_not_make_a_store_unsuitable(front: Front) -> None:
    lost = lose_reply(front, b"If-None-Match")
    front.store.probe_conditional_put()
    assert lost.triggered.is_set()


def test_a_first_webhook_secret_is_revealed_though_the_reply_of_the_store_is_lost(table: Table, front: Front) -> None:
    lost = lose_reply(front, b"If-None-Match")
    secrets = WebhookSecrets(front.store, table.settings)
    assert secrets.reveal_first("acme") == secrets.current("acme")
    assert lost.triggered.is_set()


def test_a_process_refuses_a_store_that_ignores_conditions(table: Table, front: Front) -> None:
    ok = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    front.proxy.faults = [Fault(b"If-None-Match", reply=ok)]
    with pytest.raises(ObjectStoreUnsuitable, match="cannot keep results final"):
        wait_until_ready(table.store, front.store)


def test_an_api_process_refuses_a_store_that_ignores_conditions(table: Table, front: Front, tmp_path: Path) -> None:
    front.proxy.faults = [Fault(b"If-None-Match", reply=b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]
    api = start_api(table, front, tmp_path)
    assert api.wait(60) == 1
    assert "cannot keep results final" in api_log(tmp_path)


def test_an_api_process_starts_without_if_match_and_says_so(table: Table, front: Front, tmp_path: Path) -> None:
    front.proxy.faults = [Fault(b"If-Match", reply=NOT_IMPLEMENTED)]
    api = start_api(table, front, tmp_path)
    wait_until(lambda: "start.without_if_match" in api_log(tmp_path), "the process has checked the store")
    wait_until(lambda: "Uvicorn running" in api_log(tmp_path), "the process serves")
    api.terminate()
    assert api.wait(60) == 0


def test_an_api_process_ends_with_an_error_when_a_store_that_was_away_ignores_conditions(
    table: Table, front: Front, tmp_path: Path
) -> None:
    front.proxy.faults = [Fault(b"If-None-Match", reply=INTERNAL_ERROR)]
    api = start_api(table, front, tmp_path)
    wait_until(lambda: "start.waiting" in api_log(tmp_path), "the process waits for the store")
    front.proxy.faults = [Fault(b"If-None-Match", reply=b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]
    assert api.wait(60) == 1
    assert "start.refused" in api_log(tmp_path)


def start_api(table: Table, front: Front, folder: Path) -> ForkedProcess:
    environment = {
        **os.environ,
        **front.servers.environment(),
        "S3_ENDPOINT": f"http://127.0.0.1:{front.proxy.port}",
        "S3_BUCKET": table.settings.s3_bucket,
        "API_PORT": str(free_ports()),
    }
    return ForkedProcess("api", environment, folder / "api.log")


def api_log(folder: Path) -> str:
    log = folder / "api.log"
    return log.read_text("utf-8") if log.exists() else ""


@pytest.mark.parametrize("field", ["metadata", "priority", "callback"])
def test_a_recovery_skips_a_job_that_it_cannot_restore(table: Table, field: str) -> None:
    """Its request is a document, but not one of ours."""
    for name in ("a", "b"):
        table.object_store.put(request_key(f"job_{name}"), request(f"job_{name}", "Hi").to_json())
    document = json.loads(request("job_broken", "Hi").to_json())
    table.object_store.put(request_key("job_broken"), json.dumps({**document, field: 3.5}).encode())
    redis = connect(table.settings)
    redis.set("reconciled", "an earlier process")
    assert Recovery(redis, table.object_store, table.settings).run().waiting >= 2
    assert table.store.integrity.is_reconciled()


def test_a_recovery_skips_a_job_with_a_damaged_object(table: Table, front: Front) -> None:
    """The other jobs must not wait for it."""
    for name in ("a", "b", "c"):
        table.object_store.put(request_key(f"job_{name}"), request(f"job_{name}", "Hi").to_json())
    redis = connect(table.settings)
    redis.set("reconciled", "an earlier process")
    front.proxy.faults = [Fault(b"requests/job_b.json", reply=INTERNAL_ERROR)]
    assert Recovery(redis, front.store, table.settings, retry_s=0).run().waiting == 2
    assert table.store.integrity.is_reconciled()
