"""The items that a response is being extended by, and the events of their beginning, growth and end."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from api.openai.responses.ids import CALL_PREFIX, FUNCTION_CALL_PREFIX, MESSAGE_PREFIX, REASONING_PREFIX, item_id
from api.openai.responses.objects.items import (
    Item,
    ItemStatus,
    function_call_item,
    message_item,
    reasoning_item,
    reasoning_part,
    summary_part,
    text_part,
)
from api.openai.trimmed_text import TrimmedText

Change = tuple[str, dict[str, Any]]
"""The type of an event and its fields, before it has a number."""


class OpenItem(ABC):
    """An item of the output to which text is added. White space at both ends of the text is left out."""

    def __init__(self) -> None:
        self._trimmed = TrimmedText()
        self.closed: Item = {}
        """The item as it ended."""

    @property
    def text(self) -> str:
        """The text that was sent."""
        return self._trimmed.sent

    @abstractmethod
    def begin(self) -> Iterator[Change]:
        """Yield the events that begin the item."""

    def push(self, text: str) -> Iterator[Change]:
        """Yield the events that add text."""
        yield from self._add(self._trimmed.push(text))

    def complete(self, final: str) -> Iterator[Change]:
        """Yield the events that add what is missing of the final text."""
        yield from self._add(self._trimmed.rest_of(final))

    @abstractmethod
    def close(self, status: ItemStatus) -> Iterator[Change]:
        """Yield the events that end the item."""

    @abstractmethod
    def _add(self, text: str) -> Iterator[Change]:
        """Yield the events of a piece of text; none for an empty one."""


class OpenReasoning(OpenItem):
    """The reasoning. With a summary, the summary repeats its text."""

    def __init__(self, job_id: str, index: int, *, has_summary: bool) -> None:
        super().__init__()
        self._id = item_id(REASONING_PREFIX, job_id, index)
        self._index = index
        self._has_summary = has_summary
        self._of_content = {"item_id": self._id, "output_index": index, "content_index": 0}
        self._of_summary = {"item_id": self._id, "output_index": index, "summary_index": 0}

    def begin(self) -> Iterator[Change]:
        item = reasoning_item(self._id, "", "in_progress", has_summary=self._has_summary)
        yield "response.output_item.added", {"output_index": self._index, "item": item}
        yield "response.content_part.added", {**self._of_content, "part": reasoning_part("")}
        if self._has_summary:
            yield "response.reasoning_summary_part.added", {**self._of_summary, "part": summary_part("")}

    def _add(self, text: str) -> Iterator[Change]:
        if text:
            yield "response.reasoning_text.delta", {**self._of_content, "delta": text}
            if self._has_summary:
                yield "response.reasoning_summary_text.delta", {**self._of_summary, "delta": text}

    def close(self, status: ItemStatus) -> Iterator[Change]:
        text = self.text
        yield "response.reasoning_text.done", {**self._of_content, "text": text}
        yield "response.content_part.done", {**self._of_content, "part": reasoning_part(text)}
        if self._has_summary:
            yield "response.reasoning_summary_text.done", {**self._of_summary, "text": text}
            yield "response.reasoning_summary_part.done", {**self._of_summary, "part": summary_part(text)}
        self.closed = reasoning_item(self._id, text, status, has_summary=self._has_summary)
        yield "response.output_item.done", {"output_index": self._index, "item": self.closed}


class OpenMessage(OpenItem):
    """The answer."""

    def __init__(self, job_id: str, index: int) -> None:
        super().__init__()
        self._id = item_id(MESSAGE_PREFIX, job_id, index)
        self._index = index
        self._of_content = {"item_id": self._id, "output_index": index, "content_index": 0}

    def begin(self) -> Iterator[Change]:
        item = message_item(self._id, None, "in_progress")
        yield "response.output_item.added", {"output_index": self._index, "item": item}
        yield "response.content_part.added", {**self._of_content, "part": text_part("")}

    def _add(self, text: str) -> Iterator[Change]:
        if text:
            yield "response.output_text.delta", {**self._of_content, "delta": text, "logprobs": []}

    def close(self, status: ItemStatus) -> Iterator[Change]:
        text = self.text
        yield "response.output_text.done", {**self._of_content, "text": text, "logprobs": []}
        yield "response.content_part.done", {**self._of_content, "part": text_part(text)}
        self.closed = message_item(self._id, text, status)
        yield "response.output_item.done", {"output_index": self._index, "item": self.closed}


class OpenFunctionCall(OpenItem):
    """The answer as the call of the function that the client forces."""

    def __init__(self, job_id: str, index: int, name: str) -> None:
        super().__init__()
        self._id = item_id(FUNCTION_CALL_PREFIX, job_id, index)
        self._call_id = item_id(CALL_PREFIX, job_id, index)
        self._name = name
        self._index = index
        self._of_item = {"item_id": self._id, "output_index": index}

    def begin(self) -> Iterator[Change]:
        item = function_call_item(self._id, self._call_id, self._name, "", "in_progress")
        yield "response.output_item.added", {"output_index": self._index, "item": item}

    def _add(self, text: str) -> Iterator[Change]:
        if text:
            yield "response.function_call_arguments.delta", {**self._of_item, "delta": text}

    def close(self, status: ItemStatus) -> Iterator[Change]:
        done = {**self._of_item, "name": self._name, "arguments": self.text}
        yield "response.function_call_arguments.done", done
        self.closed = function_call_item(self._id, self._call_id, self._name, self.text, status)
        yield "response.output_item.done", {"output_index": self._index, "item": self.closed}
