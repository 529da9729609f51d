from jobs.model.events import Event, Journal, JournalToken, tokens_data


def tokens(seq: int, *pairs: tuple[int, bool]) -> Event:
    return Event(seq, "tokens", tokens_data([JournalToken(*pair) for pair in pairs], "thinking", ""))


def started(seq: int, revision: str, **more: object) -> Event:
    return Event(seq, "started", {"attempt": 1, "revision": revision, **more})


def test_an_event_is_unchanged_after_a_round_trip_through_a_stream() -> None:
    event = tokens(7, (5, False), (6, True))
    seq, kind, data = event.to_fields()
    assert Event.from_entry(f"{seq}-0", {"type": kind, "data": data}) == event


def test_a_journal_keeps_order_and_forced_flags_across_workers() -> None:
    events = [started(1, "r"), tokens(2, (5, False), (6, True)), started(3, "r"), tokens(4, (7, False))]
    journal = Journal.from_events(events)
    assert journal.revision == "r"
    assert [(token.id, token.forced) for token in journal.tokens] == [(5, False), (6, True), (7, False)]


def test_tokens_before_a_restart_are_not_in_the_journal() -> None:
    events = [started(1, "old"), tokens(2, (5, False)), started(3, "new", restarted=True), tokens(4, (9, False))]
    journal = Journal.from_events(events)
    assert journal.revision == "new"
    assert [token.id for token in journal.tokens] == [9]


def test_a_job_that_was_never_started_has_an_empty_journal() -> None:
    assert Journal.from_events([]) == Journal((), None)
