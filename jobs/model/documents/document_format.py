"""The format of stored JSON documents: its version is checked, and unknown fields are ignored.

Processes of two versions share one bucket during an update. A release may add optional fields without a new version of
the format, because the release before it ignores them. ``v`` increases when a reader that ignores the new fields would
do something wrong; docs/upgrades.md has the order of such a change.
"""

import json
from collections.abc import Mapping
from dataclasses import fields as fields_of
from typing import Any

from jobs.errors import NewerDocument


def read_document(data: bytes, *, known: int) -> dict[str, Any]:
    """Parse a document and check its version.

    Args:
        known: the newest version of its format that this process reads.

    Returns:
        Its fields without ``v``.

    Raises:
        NewerDocument: a newer version of the service wrote it.
        KeyError, TypeError, ValueError: it is damaged.
    """
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    if (version := int(fields.pop("v"))) > known:
        raise NewerDocument(f"The document has format {version}; this version of the service reads up to {known}.")
    return fields


def known_fields(kind: type, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the fields that a dataclass has."""
    names = {field.name for field in fields_of(kind)}
    return {name: value for name, value in fields.items() if name in names}
