"""Finds the client's field that a problem of the native request comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.errors.pointers import Step, json_pointer
from jobs.errors import Invalid, Problem


@dataclass
class Origins:
    """Where each part of a native request comes from, in the client's body."""

    body: Mapping[str, Any]
    """What the client sent."""
    places: dict[str, tuple[Step, ...]] = field(default_factory=dict)
    """Steps in the client's body, by the JSON pointer of the native field."""

    def add(self, native: str, steps: Sequence[Step]) -> None:
        self.places[native] = tuple(steps)

    def sent(self, steps: Sequence[Step]) -> Any:
        """Return what the client sent there; None if nothing."""
        value: Any = self.body
        for step in steps:
            value = _at(value, step)
        return value

    def translate(self, error: Invalid) -> Invalid:
        """Return the error with the client's own fields."""
        return Invalid([Problem(self._pointer(one.pointer), one.message, one.code) for one in error.problems])

    def _pointer(self, native: str) -> str:
        if not native.startswith("/"):
            return native  # of a parameter or a header
        steps = native.split("/")
        for length in range(len(steps), 1, -1):
            if (origin := self.places.get("/".join(steps[:length]))) is not None:
                return json_pointer((*origin, *self._existing(origin, steps[length:])))
        return native if steps[1] in self.body else ""

    def _existing(self, origin: Sequence[Step], rest: Sequence[str]) -> list[Step]:
        """Return those of the further steps that the client's body has."""
        value = self.sent(origin)
        found: list[Step] = []
        for name in rest:
            step: Step = int(name) if isinstance(value, list) and name.isdecimal() else name
            if (value := _at(value, step)) is None:
                break
            found.append(step)
        return found


def _at(value: Any, step: Step) -> Any:
    if isinstance(value, dict):
        return value.get(str(step))
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return None
