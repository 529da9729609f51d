"""The journal is complete after the job table refused writes or lost its newest events."""

import json
import threading
import time

from jobs.model.events import JournalToken
from jobs.table import keys
from jobs.table.scripts import connect
from testing.table import Table
from worker.generate.journal import JournalWriter


def stream_tokens(table: Table) -> list[int]:
    return [token for event in table.store.events("job_a") if event.type == "tokens" for token in event.data["ids"]]


def new_writer(table: Table) -> JournalWriter:
    writer = JournalWriter(table.store, table.running("job_a"), last_seq=0, tokens=0)
    writer.add_started(revision="r", restarted=False)
    return writer


def add(writer: JournalWriter, *ids: int) -> None:
    writer.add_tokens([JournalToken(token, False) for token in ids], stage="thinking", text="x", thinking_tokens=1)


def test_refused_events_are_written_by_the_next_flush(table: Table) -> None:
    writer = new_writer(table)
    add(writer, 1, 2)
    redis = connect(table.settings)
    redis.rename(keys.job("job_a"), "aside")
    assert writer.flush() == "unknown"
    assert stream_tokens(table) == []
    redis.rename("aside", keys.job("job_a"))
    add(writer, 3)
    assert writer.flush() == "ok"
    assert stream_tokens(table) == [1, 2, 3]


def test_events_that_redis_lost_at_a_restart_are_written_again(table: Table) -> None:
    writer = new_writer(table)
    for token in (1, 2, 3):
        add(writer, token)
        writer.flush()
    events = table.store.events("job_a")
    redis = connect(table.settings)
    redis.delete(keys.stream("job_a"))
    for event in events[:-2]:
        redis.xadd(keys.stream("job_a"), {"type": event.type, "data": json.dumps(event.data)}, id=f"{event.seq}-0")
    add(writer, 4)
    assert writer.flush_fully(until=time.monotonic() + 5, stop=threading.Event())
    assert stream_tokens(table) == [1, 2, 3, 4]
