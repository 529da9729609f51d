"""Streams a chat completion as chunks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.openai.chat.reply import common_fields, failure_error, finish_reason, function_call, has_answer, usage
from api.openai.extras import extras
from api.openai.foreground.call import ForegroundCall
from api.openai.ids import chat_id
from api.openai.trimmed_text import TrimmedText
from api.streaming.event_frames import one_line_json
from api.streaming.event_hub import StreamEvent, Subscription
from jobs.errors import NotFound, NotInitialized, Unavailable
from jobs.lifecycle.lookup import find_job
from jobs.model.documents.result import JobResult
from jobs.model.events import Event

DONE = b"data: [DONE]\n\n"
INTERRUPTED = "The stream was interrupted while the job runs on; GET /v1/jobs/{} returns its answer."
RESTARTED = "The answer began again under another version of the model, which a stream cannot express; send it again."


class ChatStream:
    """Turns the events of one job into the chunks of one call."""

    def __init__(self, call: ForegroundCall, service: Services) -> None:
        self._call = call
        self._service = service
        self._texts = {"thinking": TrimmedText(), "answer": TrimmedText()}
        self.has_ended = False
        """The job has ended, or the stream has said why it ends."""

    async def follow(self, subscription: Subscription, pause_s: Callable[[], float]) -> AsyncIterator[bytes]:
        """Yield the chunks of a job that may still run.

        Args:
            pause_s: returns how long to collect further events after sending some.
        """
        yield self._first_chunk()
        async for batch in subscription.batches():
            events = (item.event for item in batch if isinstance(item, StreamEvent))
            if frame := b"".join(self._frames(events)):
                yield frame
            if self.has_ended:
                break
            await asyncio.sleep(pause_s())
        yield await self._last_frames()

    async def replay(self) -> AsyncIterator[bytes]:
        """Yield the chunks of a job that has ended: its texts are complete, so each is one chunk."""
        yield self._first_chunk()
        yield await self._last_frames()

    def _frames(self, events: Iterable[Event]) -> Iterator[bytes]:
        for event in events:
            if self.has_ended:
                return
            if event.type == "tokens":
                yield from self._text(event.data["phase"], event.data["text"])
            elif event.type == "started" and event.data.get("restarted") and any(self._sent()):
                self.has_ended = True
                yield _error({"message": RESTARTED, "type": "server_error", "code": "restarted", "param": None})
            elif event.type == "ended":
                return

    def _text(self, phase: str, text: str, *, is_rest: bool = False) -> Iterator[bytes]:
        trimmed = self._texts[phase]
        ready = trimmed.rest_of(text) if is_rest else trimmed.push(text)
        if ready and phase == "thinking":
            yield self._chunk({"reasoning_content": ready, "reasoning": ready})
        elif ready and self._call.options.get("function"):
            yield self._chunk({"tool_calls": [{"index": 0, "function": {"arguments": ready}}]})
        elif ready:
            yield self._chunk({"content": ready})

    async def _last_frames(self) -> bytes:
        """Return what follows the last event: the rest of the text, the finish reason, and the usage; or an error."""
        if self.has_ended:
            return b""
        try:
            result = await run_in_threadpool(self._read_result)
        except (NotFound, NotInitialized, Unavailable):
            result = None
        self.has_ended = result is not None
        if result is None:
            message = INTERRUPTED.format(self._call.job.id)
            return _error({"message": message, "type": "server_error", "code": "stream_interrupted", "param": None})
        output = result.output or {}
        rest = b"".join(
            frame for phase in self._texts for frame in self._text(phase, output.get(phase, ""), is_rest=True)
        )
        if not has_answer(result):
            return rest + _error(failure_error(result))
        return rest + self._finish(result)

    def _finish(self, result: JobResult) -> bytes:
        about = extras(self._call.request, result, self._call.options["ignored"])
        frames = self._chunk({}, finish_reason=finish_reason(self._call, result), thinkqueue=about)
        if self._call.options["includes_usage"]:
            frames += self._frame(choices=[], usage=usage(result))
        return frames + DONE

    def _read_result(self) -> JobResult | None:
        job, service = self._call.job, self._service
        found = find_job(service.store, job.id, tenant=job.tenant, ended_jobs=service.ended_jobs)
        return service.documents.result(found)

    def _sent(self) -> list[str]:
        return [text.sent for text in self._texts.values()]

    def _first_chunk(self) -> bytes:
        # Python's helper keeps the extras of the first chunk only.
        about = extras(self._call.request, None, self._call.options["ignored"])
        delta: dict[str, Any] = {"role": "assistant", "content": ""}
        if self._call.options.get("function"):
            delta = {"role": "assistant", "tool_calls": [{"index": 0, **function_call(self._call, arguments="")}]}
        return self._chunk(delta, thinkqueue=about)

    def _chunk(self, delta: dict[str, Any], *, finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._frame(choices=[choice], **more)

    def _frame(self, **fields: Any) -> bytes:
        common = {"id": chat_id(self._call.job.id), "object": "chat.completion.chunk", **common_fields(self._call)}
        return _data({**common, **fields})


def _error(error: dict[str, Any]) -> bytes:
    return _data({"error": error})


def _data(document: dict[str, Any]) -> bytes:
    return f"data: {one_line_json(document, separators=(',', ':'))}\n\n".encode()
