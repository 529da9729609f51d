"""Append events of many running jobs to their streams in one round trip."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from jobs.errors import JournalGap, ThinkqueueError
from jobs.model.events import Event
from jobs.table.scripts import LuaScripts
from jobs.table.types import LeaseSignal


@dataclass(frozen=True, slots=True)
class Append:
    """Arguments of ``JobStore.append``."""

    job_id: str
    claim: str
    events: Sequence[Event]
    tokens: int
    """Generated so far."""


def append_many(scripts: LuaScripts, appends: Sequence[Append]) -> list[LeaseSignal | ThinkqueueError]:
    """Return for each job its signal, or the error that ``JobStore.append`` would raise for it.

    Raises:
        StoreUnavailable: Redis does not answer; any of the events may have been written.
    """
    calls = []
    for one in appends:
        entries = [item for event in one.events for item in event.to_fields()]
        calls.append((one.job_id, one.claim, one.tokens, *entries))
    replies: list[LeaseSignal | ThinkqueueError] = []
    for reply in scripts.call_many("append", calls):
        if isinstance(reply, ThinkqueueError):
            replies.append(reply)
        elif reply[0] == "gap":
            replies.append(JournalGap(int(reply[1])))
        else:
            replies.append(cast("LeaseSignal", reply[0]))
    return replies
