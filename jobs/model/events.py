"""A job's event stream: what clients receive, and the journal from which another worker resumes a generation.

Each job has one Redis stream with ids ``<seq>-0``, where ``seq`` counts from 1. There are three event types:

``started``  a worker started or resumed the job: attempt, model revision, whether the stream restarts
``tokens``   tokens were generated: their ids, which of them are forced, the phase, the text that they add
``ended``    the terminal status
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

EventType = Literal["started", "tokens", "ended"]

STREAM_RETENTION_MS = 10 * 60 * 1000
"""How long an ended job's stream stays in Redis, so that a disconnected client can resume."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's event stream."""

    seq: int
    type: EventType
    data: dict[str, Any]

    def to_fields(self) -> tuple[int, str, str]:
        """Return sequence number, type, and the data as JSON."""
        return self.seq, self.type, json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_entry(cls, entry_id: str, fields: dict[str, str]) -> "Event":
        return cls(int(entry_id.partition("-")[0]), fields["type"], json.loads(fields["data"]))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class JournalToken:
    """A generated token, as the journal stores it."""

    id: int
    forced: bool
    """Fed by the service (the closing text), not sampled from the model."""


@dataclass(frozen=True, slots=True)
class Journal:
    """A job's tokens in order, and the revision of the model that generated them."""

    tokens: tuple[JournalToken, ...]
    revision: str | None

    @classmethod
    def from_events(cls, events: Iterable[Event]) -> "Journal":
        tokens: list[JournalToken] = []
        revision = None
        for event in events:
            if event.type == "started":
                if event.data.get("restarted"):
                    tokens.clear()
                revision = event.data["revision"]
            elif event.type == "tokens":
                tokens.extend(
                    JournalToken(token_id, forced)
                    for token_id, forced in zip(event.data["ids"], forced_flags(event.data), strict=True)
                )
        return cls(tuple(tokens), revision)


def forced_flags(data: dict[str, Any]) -> list[bool]:
    """Return for each id of a ``tokens`` event whether it was forced. The event lists the few indexes that were."""
    forced = set(data.get("forced", ()))
    return [index in forced for index in range(len(data["ids"]))]


def tokens_data(tokens: Sequence[JournalToken], phase: str, text: str, thinking_tokens: int = 0) -> dict[str, Any]:
    """Return the data of a ``tokens`` event.

    Args:
        phase: ``thinking`` or ``answer``.
        text: that the tokens add.
        thinking_tokens: used of the thinking budget so far.
    """
    return {
        "ids": [token.id for token in tokens],
        "forced": [index for index, token in enumerate(tokens) if token.forced],
        "phase": phase,
        "text": text,
        "thinking": thinking_tokens,
    }
