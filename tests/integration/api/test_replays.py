"""The streams of ended jobs are read from the servers once, not once for each reader."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobs.model.events import Event, JournalToken, tokens_data
from jobs.model.job import Stage
from jobs.table import keys
from jobs.table.scripts import connect
from testing.api import HELLO
from testing.processes.service import Service
from testing.sse import events_of
from testing.table import Table, completed

EVENTS = 500


@pytest.fixture
def api(isolated_service: Service) -> Service:
    isolated_service.start("api")
    isolated_service.wait_for_workers()
    return isolated_service


@pytest.fixture
def ended(api: Service, table: Table) -> str:
    """A job that has ended, with ``EVENTS`` tokens and two more events."""
    job_id = api.submit(**HELLO, thinking={"budget_tokens": EVENTS})
    prepare = table.claim(Stage.PREPARE)
    assert prepare is not None
    table.store.mark_prepared(job_id, prepare.job.claim, folder="a1", required_tokens=10)
    generate = table.claim(Stage.GENERATE)
    assert generate is not None
    events = [Event(1, "started", {"attempt": 1, "revision": "r"})]
    for seq in range(2, EVENTS + 2):
        # What the encoding of an event ends with, and line breaks that are valid in JSON strings.
        text = f"w{seq}\r\n\r\n\x85\u2028\u2029"
        data = tokens_data([JournalToken(seq, False)], "thinking", text, thinking_tokens=seq - 1)
        events.append(Event(seq, "tokens", data))
    table.store.append(job_id, generate.job.claim, events, tokens=EVENTS)
    table.finalizer.finalize(completed(generate.job), expect="owner")
    return job_id


def read(api: Service, job_id: str, after: int = 0) -> list[int]:
    with api.http.stream("GET", f"/v1/jobs/{job_id}/events", params={"after": after}, timeout=60) as reply:
        return [event.id for event in events_of(reply) if event.id is not None] if reply.status_code == 200 else []


def stream_reads(table: Table) -> int:
    return int(connect(table.settings).info("commandstats").get("cmdstat_xrange", {}).get("calls", 0))


def test_many_readers_cost_one_read(api: Service, table: Table, ended: str) -> None:
    before = stream_reads(table)
    with ThreadPoolExecutor(20) as readers:
        found = list(readers.map(lambda _: read(api, ended), range(40)))
    assert all(ids == list(range(1, EVENTS + 3)) for ids in found)
    assert stream_reads(table) - before == 1


@pytest.mark.parametrize("after", [1, 199, 200, 201, EVENTS, EVENTS + 1])
def test_a_reader_resumes_at_any_event(api: Service, ended: str, after: int) -> None:
    expected = list(range(after + 1, EVENTS + 3))
    assert [read(api, ended, after), read(api, ended, after)] == [expected, expected]


def test_nothing_follows_the_last_event(api: Service, ended: str) -> None:
    for _ in range(2):
        assert api.http.get(f"/v1/jobs/{ended}/events", params={"after": EVENTS + 2}).status_code == 204


def test_a_deleted_job_is_not_replayed(api: Service, ended: str) -> None:
    assert read(api, ended)
    assert api.http.delete(f"/v1/jobs/{ended}").status_code == 204
    assert api.http.get(f"/v1/jobs/{ended}/events").status_code == 404


def test_a_stream_without_its_end_is_read_again(api: Service, table: Table, ended: str) -> None:
    """Redis has lost the newest entry; the archive gives it back."""
    client, stream = connect(table.settings), keys.stream(ended)
    newest: Any = client.xrevrange(stream, count=1)
    [(entry_id, fields)] = newest
    client.xdel(stream, entry_id)
    assert read(api, ended)[-1] == EVENTS + 1
    client.xadd(stream, fields, id=f"{EVENTS + 3}-0")
    assert read(api, ended)[-1] == EVENTS + 3
