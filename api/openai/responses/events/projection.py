"""Computes the numbered events of a response from the event stream of its job.

The events are a pure function of the stored request, the job's event stream and the stored result. They are therefore
the same bytes on every replay: during the run and after it, from Redis and from the archive, in every process. They
contain no links, no times and no positions in queues.

A worker that resumes a job continues the same items. After a restart under another model the open item is closed as
incomplete, and new items follow at the next index; the final output has only those.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from api.openai.responses.events.open_item import Change, OpenFunctionCall, OpenItem, OpenMessage, OpenReasoning
from api.openai.responses.objects.items import Item
from api.openai.responses.objects.response_object import ended_response, ended_status, running_response
from api.openai.responses.request.client_fields import ClientFields
from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.model.events import Event, forced_flags

LAST_EVENTS = {"completed": "response.completed", "failed": "response.failed"}
"""The type of the last event by the response's status; of any other status ``response.incomplete``."""
LINE_SEPARATORS = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"})
"""Some clients split the stream at every character that Unicode calls a line separator."""


DATA, END_OF_FRAME = b"\ndata: ", b"\n\n"


@dataclass(frozen=True, slots=True)
class ResponseEvent:
    """One numbered event of a response."""

    number: int
    """``sequence_number``, from 0."""
    type: str
    data: dict[str, Any]

    def to_frame(self) -> bytes:
        """Return the event as it is sent."""
        data = json.dumps(self.data, ensure_ascii=False, separators=(",", ":")).translate(LINE_SEPARATORS)
        return b"event: " + self.type.encode() + DATA + data.encode() + END_OF_FRAME


class EventProjection:
    """The state of the projection of one job's stream: call ``begin``, ``add`` for each event, then ``end``."""

    def __init__(self, request: JobRequest) -> None:
        self._request = request
        client = ClientFields.of(request)
        self._has_summary = client.has_summary
        self._function = client.function
        self._next_number = 0
        self._next_index = 0
        self._has_started = False
        self._open: OpenItem | None = None
        self._reasoning: OpenReasoning | None = None
        self._answer: OpenMessage | OpenFunctionCall | None = None
        self._is_thinking_cut = False
        self._output: list[Item] = []

    @property
    def output(self) -> list[Item]:
        """The closed items; those from before a restart are not among them."""
        return self._output

    def begin(self) -> list[ResponseEvent]:
        """Return the events that every response begins with."""
        created = {"response": running_response(self._request, "queued")}
        return self._numbered([("response.created", created), ("response.queued", created)])

    def add(self, event: Event) -> list[ResponseEvent]:
        """Return the events that follow from one event of the job's stream; none for its last one, see ``end``."""
        if event.type == "started":
            return self._numbered(self._start(is_restart=bool(event.data.get("restarted"))))
        if event.type == "tokens":
            return self._numbered(self._add_tokens(event.data))
        return []

    def end(self, result: JobResult) -> list[ResponseEvent]:
        """Return the last events of a job that has ended."""
        return self._numbered(self._end(result))

    def _numbered(self, changes: Iterable[Change]) -> list[ResponseEvent]:
        events = []
        for kind, fields in changes:
            data = {"type": kind, "sequence_number": self._next_number, **fields}
            events.append(ResponseEvent(self._next_number, kind, data))
            self._next_number += 1
        return events

    def _start(self, *, is_restart: bool) -> Iterator[Change]:
        if is_restart:
            yield from self._restart()
        if not self._has_started:
            self._has_started = True
            yield "response.in_progress", {"response": running_response(self._request, "in_progress")}

    def _restart(self) -> Iterator[Change]:
        """Close the open item; the items so far are not part of the final output."""
        yield from self._close(is_complete=False)
        self._output = []
        self._reasoning = self._answer = None
        self._is_thinking_cut = False

    def _add_tokens(self, data: dict[str, Any]) -> Iterator[Change]:
        if data["phase"] == "thinking":
            yield from self._add_thinking(data["text"])
            # The service closes the thinking with forced tokens. A sampled one after them is the model's own.
            flags = forced_flags(data)
            self._is_thinking_cut = bool(flags) and flags[-1]
        else:
            yield from self._add_answer(data["text"])

    def _add_thinking(self, text: str) -> Iterator[Change]:
        if self._reasoning is None:
            if not text.strip():
                return
            yield from self._begin_reasoning()
        assert self._reasoning is not None
        yield from self._reasoning.push(text)

    def _add_answer(self, text: str) -> Iterator[Change]:
        if self._answer is None:
            yield from self._close_reasoning()
            if not text.strip():
                return
            yield from self._begin_answer()
        assert self._answer is not None
        yield from self._answer.push(text)

    def _begin_reasoning(self) -> Iterator[Change]:
        self._reasoning = OpenReasoning(self._request.id, self._take_index(), has_summary=self._has_summary)
        yield from self._begin(self._reasoning)

    def _close_reasoning(self) -> Iterator[Change]:
        yield from self._close(is_complete=not self._is_thinking_cut)

    def _begin_answer(self) -> Iterator[Change]:
        yield from self._close_reasoning()
        job_id, index = self._request.id, self._take_index()
        if self._function is None:
            self._answer = OpenMessage(job_id, index)
        else:
            self._answer = OpenFunctionCall(job_id, index, self._function)
        yield from self._begin(self._answer)

    def _begin(self, item: OpenItem) -> Iterator[Change]:
        self._open = item
        yield from item.begin()

    def _close(self, *, is_complete: bool) -> Iterator[Change]:
        if self._open is not None:
            item = self._open
            self._open = None
            yield from item.close("completed" if is_complete else "incomplete")
            self._output.append(item.closed)

    def _take_index(self) -> int:
        self._next_index += 1
        return self._next_index - 1

    def _end(self, result: JobResult) -> Iterator[Change]:
        status = ended_status(result)
        if result.output is not None:
            yield from self._add_missing(result.output["thinking"], result.output["answer"])
        if self._open is not None and self._open is self._reasoning:
            yield from self._close(is_complete=status == "completed" and not self._is_thinking_cut)
        if status == "completed" and self._answer is None:
            yield from self._begin_answer()  # clients read the text of the message, also when it is empty
        yield from self._close(is_complete=status == "completed")
        response = ended_response(self._request, result, self._output)
        yield LAST_EVENTS.get(status, "response.incomplete"), {"response": response}

    def _add_missing(self, thinking: str, answer: str) -> Iterator[Change]:
        """Add what the result has and the stream lacks: a crash of Redis can cost the stream its last second."""
        if not self._continues(thinking, answer):
            yield from self._restart()
        if thinking and self._reasoning is None:
            yield from self._begin_reasoning()
        if self._reasoning is not None and self._open is self._reasoning:
            yield from self._reasoning.complete(thinking)
        if answer and self._answer is None:
            yield from self._begin_answer()
        if self._answer is not None:
            yield from self._answer.complete(answer)

    def _continues(self, thinking: str, answer: str) -> bool:
        """Whether the texts of the result begin with what was sent; a closed text must be the same."""
        sent_thinking = self._reasoning.text if self._reasoning else ""
        sent_answer = self._answer.text if self._answer else ""
        is_open = self._answer is None and (self._reasoning is None or self._open is self._reasoning)
        continues = thinking.startswith(sent_thinking) if is_open else thinking == sent_thinking
        return continues and answer.startswith(sent_answer)


def project(request: JobRequest, events: Iterable[Event], result: JobResult) -> list[ResponseEvent]:
    """Return all events of a response whose job has ended."""
    projection = EventProjection(request)
    found = projection.begin()
    for event in events:
        found += projection.add(event)
    return found + projection.end(result)
