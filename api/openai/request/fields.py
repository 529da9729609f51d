"""Says for each field of a request whether it is honored, ignored, or refused.

Clients send many fields that this service does not have. A field that does not change the answer is ignored. A field
that would change it is refused by name, unless it has the value that changes nothing. A field that no table names is
ignored, and the reply says so.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from api.errors.pointers import Step, json_pointer
from api.errors.wording import quoted
from jobs.errors import Invalid, Problem

UNSUPPORTED = "unsupported_parameter"
"""The code of a field that is refused."""
MAX_PROBLEMS = 20


@dataclass(frozen=True)
class Honored:
    """The field has an effect."""


@dataclass(frozen=True)
class Ignored:
    """The field is accepted with any value and has no effect: it does not change the answer."""


@dataclass(frozen=True)
class NoEffect:
    """The field is accepted with the values that change nothing, and refused with any other."""

    values: tuple[Any, ...]
    instead: str = ""
    """What to do instead of another value."""


@dataclass(frozen=True)
class Refused:
    """The field is refused unless it is null."""

    instead: str


Rule = Honored | Ignored | NoEffect | Refused
FieldTable = Mapping[str, Rule]
HONORED, IGNORED = Honored(), Ignored()


@dataclass(frozen=True)
class Fields:
    """The fields of an object that are honored, and the names of those that no table has."""

    values: dict[str, Any]
    """Without nulls: null means the same as leaving the field out."""
    unknown: tuple[str, ...] = ()
    at: tuple[Step, ...] = field(default=())
    """Where the object is in the body."""

    def get(self, name: str) -> Any:
        return self.values.get(name)

    def read(self, name: str, is_valid: Callable[[Any], bool], expected: str) -> Any:
        """Return a field's value, or None.

        Args:
            expected: what a valid value is, such as ``a string``.

        Raises:
            Invalid: the value is not valid.
        """
        value = self.values.get(name)
        if value is not None and not is_valid(value):
            raise invalid((*self.at, name), f"must be {expected}, not {quoted(value)}")
        return value

    def nested(self, name: str, table: FieldTable) -> "Fields":
        """Return the fields of an object in a field; those of an empty one if the field is missing."""
        value = self.read(name, lambda found: isinstance(found, dict), "an object")
        return read_fields(value or {}, table, at=(*self.at, name))


def read_fields(body: Mapping[str, Any], table: FieldTable, *, at: tuple[Step, ...] = ()) -> Fields:
    """Apply a table to the fields of an object.

    Args:
        at: where the object is in the body.

    Raises:
        Invalid: a field is refused; names up to ``MAX_PROBLEMS``.
    """
    honored: dict[str, Any] = {}
    unknown: list[str] = []
    problems: list[Problem] = []
    for name, value in body.items():
        rule = table.get(name)
        if value is None or isinstance(rule, Ignored):
            continue
        if rule is None:
            unknown.append(".".join(map(str, (*at, name))))
        elif isinstance(rule, Honored):
            honored[name] = value
        elif isinstance(rule, Refused):
            problems.append(unsupported((*at, name), rule.instead))
        elif not _is_one_of(value, rule.values):
            problems.append(unsupported((*at, name), _other_value(value, rule)))
    if problems:
        raise Invalid(problems[:MAX_PROBLEMS])
    return Fields(honored, tuple(unknown), at)


def invalid(steps: Iterable[Step], message: str) -> Invalid:
    """Return the error about one field, given where it is in the body."""
    return Invalid([Problem(json_pointer(tuple(steps)), message)])


def unsupported(steps: Iterable[Step], message: str) -> Problem:
    """Return the problem of a field that this service does not support."""
    return Problem(json_pointer(tuple(steps)), message, UNSUPPORTED)


def unknown_names(*found: Fields) -> tuple[str, ...]:
    """Return the names of the unknown fields of a request, in the order of its body."""
    return tuple(name for fields in found for name in fields.unknown)


def _is_one_of(value: Any, values: Collection[Any]) -> bool:
    # 0 == False in Python; in JSON they differ. 0 and 0.0 do not.
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values)


def _other_value(value: Any, rule: NoEffect) -> str:
    allowed = " or ".join(json.dumps(one) for one in rule.values)
    said = f"is not supported with {quoted(value)}; leave it out, or send {allowed}"
    return f"{said}: {rule.instead}" if rule.instead else said
