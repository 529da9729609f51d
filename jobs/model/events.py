"""A job's event stream: what it was told to the world, and the journal that a generation goes on from.

One Redis stream a job, ids ``<seq>-0`` counting from 1. Three kinds of event:

``started``  a worker began or went on: attempt, revision of the model
``tokens``   tokens were made: their ids, whether sampled or forced, the stage, the text that they add
``ended``    the terminal status
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

EventType = Literal["started", "tokens", "ended"]

STREAM_RETENTION_MS = 10 * 60 * 1000
"""An ended job's stream stays in Redis this long, so that a client that was cut off can read on."""


@dataclass(frozen=True, slots=True)
class Event:
    seq: int
    type: EventType
    data: dict[str, Any]

    def to_fields(self) -> tuple[int, str, str]:
        return self.seq, self.type, json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_entry(cls, entry_id: str, fields: dict[str, str]) -> "Event":
        return cls(int(entry_id.partition("-")[0]), fields["type"], json.loads(fields["data"]))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class JournalToken:
    id: int
    forced: bool
    """Fed by the service (closing text), not sampled from the model."""


@dataclass(frozen=True, slots=True)
class Journal:
    """The tokens that a job has, in order, and the model that made them."""

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
    """Which of a ``tokens`` event's ids were forced; they are listed by index, for they are few."""
    forced = set(data.get("forced", ()))
    return [index in forced for index in range(len(data["ids"]))]


def tokens_data(tokens: Sequence[JournalToken], phase: str, text: str, thinking_tokens: int = 0) -> dict[str, Any]:
    """The data of a ``tokens`` event; ``thinking_tokens``: used of the budget by then."""
    return {
        "ids": [token.id for token in tokens],
        "forced": [index for index, token in enumerate(tokens) if token.forced],
        "phase": phase,
        "text": text,
        "thinking": thinking_tokens,
    }
