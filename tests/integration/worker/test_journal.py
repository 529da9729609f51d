"""A journal under a store that refuses, forgets and comes back: its stream ends whole."""

import json
import threading
import time

from jobs.model.events import JournalToken
from jobs.table.scripts import connect
from testing.table import Table
from worker.generate.journal import JournalWriter


def streamed(table: Table) -> list[int]:
    return [token for event in table.store.events("job_a") if event.type == "tokens" for token in event.data["ids"]]


def writer_of(table: Table) -> JournalWriter:
    writer = JournalWriter(table.store, table.running("job_a"), last_seq=0, tokens=0)
    writer.started(revision="r", restarted=False)
    return writer


def say(writer: JournalWriter, *ids: int) -> None:
    writer.tokens([JournalToken(token, False) for token in ids], stage="thinking", text="x", thinking_tokens=1)


def test_what_the_store_did_not_take_is_written_later(table: Table) -> None:
    writer = writer_of(table)
    say(writer, 1, 2)
    redis = connect(table.settings)
    redis.rename("job:job_a", "aside")
    assert writer.flush() == "unknown"
    assert streamed(table) == []
    redis.rename("aside", "job:job_a")
    say(writer, 3)
    assert writer.flush() == "ok"
    assert streamed(table) == [1, 2, 3]


def test_what_a_restarted_store_forgot_is_written_again(table: Table) -> None:
    writer = writer_of(table)
    for token in (1, 2, 3):
        say(writer, token)
        writer.flush()
    events = table.store.events("job_a")
    redis = connect(table.settings)
    redis.delete("stream:job_a")
    for event in events[:-2]:
        redis.xadd("stream:job_a", {"type": event.type, "data": json.dumps(event.data)}, id=f"{event.seq}-0")
    say(writer, 4)
    assert writer.flush_fully(until=time.monotonic() + 5, stop=threading.Event())
    assert streamed(table) == [1, 2, 3, 4]
