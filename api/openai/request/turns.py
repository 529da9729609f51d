"""Turns the messages of both surfaces into native messages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from api.errors.pointers import Step
from api.errors.wording import quoted
from api.openai.request.content import NativePart, file_id_steps, native_part
from api.openai.request.fields import UNSUPPORTED, invalid, unsupported
from api.openai.request.origins import Origins
from jobs.errors import Invalid, Problem

NATIVE_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
SOURCES = {"text": "text", "file": "file/file_id", "image_url": "image_url/url", "video_url": "video_url/url"}
"""Where native parts have their source."""
TOOL_ROLES = ("tool", "function")
NO_TOOLS = "is the result of a tool; the model has no tools: write the result into a user message"
NO_CALLS = "has calls of tools; the model has no tools: leave the message out"


@dataclass
class Conversation:
    """Collects the turns of a request in native form.

    System and developer turns at the beginning are joined into one system message. Later ones stay in their place.
    """

    origins: Origins
    messages: list[dict[str, Any]] = field(default_factory=list)

    def add_instructions(self, text: str, at: Sequence[Step]) -> None:
        """Add text to the system message at the beginning."""
        if text:
            self._add("system", [({"type": "text", "text": text}, at)], at)

    def add_turn(self, turn: Any, at: Sequence[Step]) -> None:
        """Add a message of the request.

        Args:
            at: where it is in the body.

        Raises:
            Invalid: it has no valid form, or something that the model does not support.
        """
        if not isinstance(turn, dict):
            raise invalid(at, f'must be an object such as {{"role": "user", "content": "…"}}, not {quoted(turn)}')
        role = turn.get("role")
        if role in TOOL_ROLES:
            raise Invalid([unsupported((*at, "role"), NO_TOOLS)])
        if not isinstance(role, str) or role not in NATIVE_ROLES:
            raise invalid((*at, "role"), f"must be system, developer, user or assistant, not {quoted(role)}")
        for name in ("tool_calls", "function_call"):
            if turn.get(name):
                raise Invalid([unsupported((*at, name), NO_CALLS)])
        parts = self._parts(turn.get("content"), (*at, "content"))
        if role == "assistant" and not parts:
            return  # an answer that was refused, or had nothing but thinking
        if not parts:
            raise invalid((*at, "content"), "is empty; send text, an image, a video or a file")
        self._add(NATIVE_ROLES[role], parts, at)

    def check(self, at: Step) -> None:
        """Check the order of the turns.

        Args:
            at: the name of the field.

        Raises:
            Invalid: the model has nothing to answer.
        """
        self.origins.add("/messages", (at,))
        roles = [message["role"] for message in self.messages]
        if "user" not in roles:
            raise invalid((at,), "must have a user message; there is nothing to answer")
        if roles[-1] == "assistant":
            message = (
                "must not end with an assistant message: the model cannot continue an answer; end with a user message"
            )
            raise Invalid([Problem(f"/{at}", message, UNSUPPORTED)])

    def _parts(self, content: Any, at: Sequence[Step]) -> list[tuple[NativePart, Sequence[Step]]]:
        if content is None or content == "":
            return []
        if isinstance(content, str):
            return [({"type": "text", "text": content}, at)]
        if not isinstance(content, list):
            raise invalid(at, f"must be a string or a list of parts, not {quoted(content)}")
        places = ((part, (*at, index)) for index, part in enumerate(content))
        found = [(native_part(part, place), place) for part, place in places]
        return [(part, place) for part, place in found if part is not None]

    def _add(self, role: str, parts: list[tuple[NativePart, Sequence[Step]]], at: Sequence[Step]) -> None:
        texts = [part["text"] for part, _ in parts if part["type"] == "text"]
        if role == "system" and len(texts) == len(parts) and self._is_system_alone():
            content = self.messages[0]["content"]
            content[0]["text"] = "\n\n".join([content[0]["text"], *texts])
            return
        if role != "user" and len(texts) != len(parts):
            place = next(place for part, place in parts if part["type"] != "text")
            raise invalid(place, f"a {role} message takes text only; move its media to a user message")
        if role == "system":
            parts = [({"type": "text", "text": "\n\n".join(texts)}, at)]
        native = f"/messages/{len(self.messages)}"
        self.origins.add(native, at)
        for index, (part, place) in enumerate(parts):
            self.origins.add(f"{native}/content/{index}", place)
            if steps := file_id_steps(self.origins.sent(place)):
                self.origins.add(f"{native}/content/{index}/{SOURCES[part['type']]}", (*place, *steps))
        self.messages.append({"role": role, "content": [part for part, _ in parts]})

    def _is_system_alone(self) -> bool:
        return len(self.messages) == 1 and self.messages[0]["role"] == "system"
