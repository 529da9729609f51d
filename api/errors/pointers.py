"""JSON pointers (RFC 6901) into the body that the client sent."""

from collections.abc import Sequence
from typing import Any

Step = str | int


def json_pointer(steps: Sequence[Step]) -> str:
    """Write steps as a JSON pointer: ``~`` and ``/`` in names are escaped."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def steps_in_body(location: Sequence[Step], body: Any) -> list[Step]:
    """Return the steps of a pydantic location that exist in the client's body.

    A location can have steps that the client did not send: the tag of a union, the index of the part that a string was
    converted to, and ``[key]`` for the name of a pair. A missing field keeps its name as the last step.

    Args:
        location: without its first element, ``body``.
        body: the parsed body.
    """
    steps: list[Step] = []
    value = body
    for index, step in enumerate(location):
        if is_part_tag(location, index):
            continue
        if isinstance(value, dict) and isinstance(step, str):
            steps.append(step)
            if step not in value:
                return steps
            value = value[step]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            steps.append(step)
            value = value[step]
        else:
            return steps
    return steps


def is_part_tag(location: Sequence[Step], index: int) -> bool:
    """Whether a step is the tag of a content part, which ``api.schemas.messages`` writes ``<type>``.

    Only the step after an index of ``content`` is one: a client's own field may have such a name, too.
    """
    step = location[index]
    follows_part = index >= 2 and location[index - 2] == "content" and isinstance(location[index - 1], int)
    return follows_part and isinstance(step, str) and step.startswith("<")
