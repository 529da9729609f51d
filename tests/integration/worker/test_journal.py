"""The journal is complete after the job table refused writes or lost its newest events."""

import json
import threading
import time

from jobs.model.events import JournalToken
from jobs.table import keys
from jobs.table.scripts import connect
from testing.processes.waiting import wait_until
from testing.table import Table
from worker.generate.journal import JournalWriter
from worker.generate.journal_flusher import JournalFlusher


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


def written_ids(table: Table, job_id: str) -> list[int]:
    return [token for event in table.store.events(job_id) if event.type == "tokens" for token in event.data["ids"]]


def test_journals_of_many_jobs_are_written_in_one_round_trip_and_do_not_affect_each_other(table: Table) -> None:
    names = ["job_a", "job_b", "job_c", "job_d"]
    writers = []
    for number, name in enumerate(names):
        writer = JournalWriter(table.store, table.running(name), last_seq=0, tokens=0)
        writer.add_started(revision="r", restarted=False)
        add(writer, number)
        writers.append(writer)
    redis = connect(table.settings)
    redis.delete(keys.job("job_b"))
    table.store.cancel("job_c")
    replies = JournalWriter.flush_together(writers)
    assert [replies[writer] for writer in writers] == ["ok", "unknown", "cancel", "ok"]
    assert [written_ids(table, name) for name in names] == [[0], [], [2], [3]]
    add(writers[0], 7)
    JournalWriter.flush_together(writers)
    assert written_ids(table, "job_a") == [0, 7], "nothing twice"


def test_a_gap_of_one_journal_is_repaired_by_its_next_flush_with_others(table: Table) -> None:
    lost, other = (JournalWriter(table.store, table.running(name), last_seq=0, tokens=0) for name in ("job_a", "job_b"))
    for writer in (lost, other):
        writer.add_started(revision="r", restarted=False)
        add(writer, 1)
    JournalWriter.flush_together([lost, other])
    connect(table.settings).delete(keys.stream("job_a"))
    add(lost, 2)
    add(other, 2)
    assert type(JournalWriter.flush_together([lost, other])[lost]).__name__ == "JournalGap"
    JournalWriter.flush_together([lost, other])
    assert (written_ids(table, "job_a"), written_ids(table, "job_b")) == ([1, 2], [1, 2])


def test_the_first_tokens_of_a_job_do_not_wait_for_the_next_flush_of_all(table: Table) -> None:
    flusher = JournalFlusher(interval_s=600)
    writers = [
        JournalWriter(table.store, table.running(name), last_seq=0, tokens=0, on_first_tokens=flusher.wake)
        for name in ("job_a", "job_b")
    ]
    for writer in writers:
        writer.add_started(revision="r", restarted=False)
    flusher.start()
    try:
        with flusher.register(writers[0], lambda _: None), flusher.register(writers[1], lambda _: None):
            add(writers[0], 1)
            wait_until(lambda: written_ids(table, "job_a") == [1] or None, "the first tokens", 10)
            add(writers[0], 2)
            add(writers[1], 3)
            wait_until(lambda: written_ids(table, "job_b") == [3] or None, "the first tokens of the other job", 10)
            assert written_ids(table, "job_a") == [1], "later tokens come with the next flush of all"
    finally:
        flusher.stop()
