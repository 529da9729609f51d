"""Event streams from real api processes; the tests play the workers."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit

import httpx
import pytest

from jobs.lifecycle.end.archive import EventArchive
from jobs.model.events import Event, JournalToken, tokens_data
from jobs.model.job import Job, Stage
from jobs.table import keys
from jobs.table.scripts import connect
from testing.api import HELLO
from testing.processes.servers import free_ports
from testing.processes.service import Service
from testing.processes.waiting import wait_until
from testing.sse import Sent, events_of, read_stream
from testing.table import Table, completed


@pytest.fixture
def api(isolated_service: Service) -> Service:
    isolated_service.start("api")
    isolated_service.wait_for_workers()
    return isolated_service


def tokens(first: int, last: int, stage: str = "thinking") -> list[Event]:
    """Return one event with one token for each sequence number."""
    return [
        Event(seq, "tokens", tokens_data([JournalToken(seq, False)], stage, f"w{seq} ", thinking_tokens=seq - 1))
        for seq in range(first, last + 1)
    ]


def start_running(table: Table, job_id: str) -> Job:
    """Move a job through prepare to a generate worker that has reported its start."""
    prepare = table.claim(Stage.PREPARE)
    assert prepare is not None
    assert prepare.job.id == job_id
    table.store.mark_prepared(job_id, prepare.job.claim, folder="a1", required_tokens=10)
    claimed = table.claim(Stage.GENERATE)
    assert claimed is not None
    table.store.append(job_id, claimed.job.claim, [Event(1, "started", {"attempt": 1, "revision": "r"})], tokens=0)
    return claimed.job


def end(table: Table, job: Job) -> None:
    table.finalizer.finalize(completed(job), expect="owner")


def ids(events: list[Sent]) -> list[int]:
    return [event.id for event in events if event.id is not None]


def test_a_stream_reports_a_job_from_its_position_to_its_end(api: Service, table: Table) -> None:
    first, second = api.submit(**HELLO), api.submit(**HELLO, thinking={"budget_tokens": 64})
    with api.http.stream("GET", f"/v1/jobs/{second}/events") as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["cache-control"] == "no-store"
        events = events_of(reply)
        waiting = {"job_id": second, "status": "preparing", "position": 1, "media": None}
        assert next(events) == Sent("job.status", waiting, None)
        claimed = table.claim(Stage.PREPARE)
        assert claimed is not None
        assert claimed.job.id == first
        assert next(events).data["position"] == 0

        claimed = table.claim(Stage.PREPARE)
        assert claimed is not None
        table.store.report_progress(second, claimed.job.claim, done=1, total=3)
        assert next(events).data["media"] == {"ready": 1, "all": 3}
        table.store.mark_prepared(second, claimed.job.claim, folder="a1", required_tokens=10)
        queued = next(events).data
        assert (queued["status"], queued["position"], queued["media"]) == ("queued", 0, None)

        claimed = table.claim(Stage.GENERATE)
        assert claimed is not None
        table.store.append(second, claimed.job.claim, [Event(1, "started", {"attempt": 1, "revision": "r"})], tokens=0)
        table.store.append(second, claimed.job.claim, tokens(2, 3), tokens=2)
        table.store.append(second, claimed.job.claim, tokens(4, 4, "answer"), tokens=3)
        end(table, claimed.job)
        events_with_id = [event for event in events if event.event != "job.status"]
    assert [(event.id, event.event) for event in events_with_id] == [
        (1, "job.started"),
        (2, "thinking.delta"),
        (3, "thinking.delta"),
        (4, "answer.delta"),
        (5, "job.completed"),
    ]
    assert events_with_id[2].data == {"text": "w3 ", "tokens": 1, "thinking_tokens": 2, "budget_tokens": 64}
    assert events_with_id[4].data["job"] == {"id": second, "status": "completed", "error": None}


def test_a_stream_resumes_after_any_event_on_any_process_and_after_the_end(api: Service, table: Table) -> None:
    port = free_ports()
    api.start("api2", API_PORT=str(port))
    other = f"http://127.0.0.1:{port}"
    api.wait_until(lambda: httpx_answers(f"{other}/livez"), "second api")

    job_id = api.submit(**HELLO)
    job = start_running(table, job_id)
    table.store.append(job_id, job.claim, tokens(2, 900), tokens=899)
    seen: list[Sent] = []
    with api.http.stream("GET", f"/v1/jobs/{job_id}/events") as reply:
        for event in events_of(reply):
            seen.append(event)
            if event.id == 450:
                break
    follower = Follower(f"{other}/v1/jobs/{job_id}/events", last_event_id=450)
    table.store.append(job_id, job.claim, tokens(901, 910), tokens=909)
    end(table, job)
    assert ids(seen) + ids(follower.events()) == list(range(1, 912))

    # After the end: from Redis, then from the archive once Redis has deleted the stream.
    for _ in range(2):
        assert ids(read_stream(api.http, job_id, last_event_id=905)) == list(range(906, 912))
        assert ids(read_stream(api.http, job_id, url=other)) == list(range(1, 912))
        assert ids(read_stream(api.http, job_id, params={"after": 910})) == [911]
        assert ids(read_stream(api.http, job_id, params={"after": 5}, last_event_id=910)) == [911]  # a reconnect
        # On any other status an EventSource would connect again, without end.
        done = api.http.get(f"/v1/jobs/{job_id}/events?after=5", headers={"Last-Event-ID": "911"})
        assert (done.status_code, done.content) == (204, b"")
        EventArchive(table.store, table.object_store).archive(job_id)
        connect(table.settings).delete(keys.stream(job_id))


def test_subscribers_at_different_positions_of_one_job_get_all_events(api: Service, table: Table) -> None:
    job_id = api.submit(**HELLO)
    job = start_running(table, job_id)
    table.store.append(job_id, job.claim, tokens(2, 600), tokens=599)
    url = f"{api.url}/v1/jobs/{job_id}/events"
    followers = [Follower(url, last_event_id=position) for position in (0, 0, 300, 600)]
    time.sleep(0.3)
    table.store.append(job_id, job.claim, tokens(601, 650), tokens=649)
    end(table, job)
    for follower, position in zip(followers, (0, 0, 300, 600), strict=True):
        assert ids(follower.events()) == list(range(position + 1, 652))


def test_media_are_counted_before_the_first_is_ready(api: Service, table: Table) -> None:
    picture = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}
    job_id = api.submit(messages=[{"role": "user", "content": [picture, picture]}])
    with api.http.stream("GET", f"/v1/jobs/{job_id}/events") as reply:
        events = events_of(reply)
        assert next(events).data["media"] == {"ready": 0, "all": 2}
        claimed = table.claim(Stage.PREPARE)
        assert claimed is not None
        assert next(events).data == {
            "job_id": job_id, "status": "preparing", "position": None, "media": {"ready": 0, "all": 2},
        }  # fmt: skip
        table.store.report_progress(job_id, claimed.job.claim, done=1, total=2)
        assert next(events).data["media"] == {"ready": 1, "all": 2}


def test_a_malformed_last_event_id_is_refused(api: Service) -> None:
    job_id = api.submit(**HELLO)
    for last in ("x", "-1", "1.5", "9" * 30, "٣"):
        reply = api.http.get(f"/v1/jobs/{job_id}/events", headers={b"Last-Event-ID": last.encode()})
        assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, "header:Last-Event-ID"), last


def test_a_stream_ends_when_the_record_of_its_job_disappears(api: Service, table: Table) -> None:
    job_id = api.submit(**HELLO)
    follower = Follower(f"{api.url}/v1/jobs/{job_id}/events")
    follower.await_first()
    connect(table.settings).delete(keys.job(job_id))
    assert [event.event for event in follower.events()] == ["job.status"]


def test_too_many_streams_are_refused_and_open_ones_do_not_delay_shutdown(
    isolated_service: Service,
) -> None:
    isolated_service.start("api", MAX_STREAMS="2")
    isolated_service.wait_for_workers()
    job_id = isolated_service.submit(**HELLO)
    url = f"{isolated_service.url}/v1/jobs/{job_id}/events"
    followers = [Follower(url), Follower(url)]
    for follower in followers:
        follower.await_first()
    reply = isolated_service.http.get(url)
    assert (reply.status_code, reply.json()["code"]) == (429, "too_many_streams")
    assert reply.headers["retry-after"]

    assert isolated_service.drain("api") == [0]
    for follower in followers:
        follower.events()


def test_a_tenant_has_a_share_of_streams_and_waits(isolated_service: Service) -> None:
    isolated_service.start("api", MAX_STREAMS_PER_TENANT="1", MAX_WAITS_PER_TENANT="1")
    isolated_service.wait_for_workers()
    http, job_id = isolated_service.http, isolated_service.submit(**HELLO)
    with http.stream("GET", f"/v1/jobs/{job_id}/events") as reply:
        events = events_of(reply)
        next(events)
        refused = http.get(f"/v1/jobs/{job_id}/events")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        assert refused.headers["retry-after"]
        assert http.head(f"/v1/jobs/{job_id}/events").status_code == 429
    # A share is free again when the client has closed its stream, also one that was answered without events.
    for method in ("HEAD", "HEAD", "GET"):
        wait_until(partial(answers, http, method, job_id), "a free stream")

    with ThreadPoolExecutor(1) as pool:
        prefer = {"Prefer": "wait=60"}
        waiting = pool.submit(http.post, "/v1/jobs", json=HELLO, headers=prefer)
        jobs = lambda: http.get("/v1/jobs").json()["data"]  # noqa: E731
        wait_until(lambda: len(jobs()) == 2, "the job of the call that waits")
        refused = http.post("/v1/jobs", json=HELLO, headers=prefer)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_waits")
        assert len(jobs()) == 2
        http.post(f"/v1/jobs/{jobs()[0]['id']}/cancel")
        assert waiting.result().json()["status"] == "cancelled"
    assert http.post("/v1/jobs", json=HELLO, headers={"Prefer": "wait=1"}).status_code == 202


def answers(http: httpx.Client, method: str, job_id: str) -> bool:
    with http.stream(method, f"/v1/jobs/{job_id}/events") as reply:
        return reply.status_code == 200


def test_a_stream_whose_request_announces_a_body_that_does_not_come_is_refused(isolated_service: Service) -> None:
    isolated_service.start("api", BODY_TIMEOUT_S="0.2", MAX_BODY_BYTES="1024")
    isolated_service.wait_for_workers()
    job_id = isolated_service.submit(**HELLO)
    address = urlsplit(isolated_service.url)
    for head, status in (
        ("Content-Length: 5", b" 408 "),
        ("Transfer-Encoding: chunked", b" 408 "),
        ("Content-Length: 99999999", b" 413 "),
    ):
        with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=30) as line:
            line.sendall(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
            assert status in line.recv(100), head
    assert "crashed" not in isolated_service.log("api")
    assert "Exception" not in isolated_service.log("api")


def test_a_stream_survives_a_restart_of_redis_connections(api: Service, table: Table) -> None:
    job_id = api.submit(**HELLO)
    job = start_running(table, job_id)
    follower = Follower(f"{api.url}/v1/jobs/{job_id}/events")
    follower.await_first()
    client = connect(table.settings)
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    table.store.append(job_id, job.claim, tokens(2, 4), tokens=3)
    end(table, job)
    assert ids(follower.events()) == [1, 2, 3, 4, 5]


class Follower:
    """Reads a stream in its own thread."""

    def __init__(self, url: str, *, last_event_id: int = 0) -> None:
        self._url = url
        self._headers = {"Last-Event-ID": str(last_event_id)}
        self._seen: list[Sent] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            with httpx.stream("GET", self._url, headers=self._headers, timeout=120) as reply:
                for event in events_of(reply):
                    self._seen.append(event)
        except httpx.RemoteProtocolError:
            return  # the process has stopped

    def await_first(self) -> None:
        wait_until(lambda: bool(self._seen), "the first event")

    def events(self) -> list[Sent]:
        """Return all events after the stream has ended."""
        self._thread.join(120)
        assert not self._thread.is_alive()
        return self._seen


def httpx_answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
