"""What an API key allows: its tenant, scopes, priorities, limits and quotas."""

import json
import math
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from jobs.errors import NewerDocument
from jobs.model.documents.document_format import known_fields
from jobs.model.job import PRIORITIES

MAX_NAME_CHARACTERS = 200
TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
SCOPES = ("submit", "read", "cancel", "webhooks", "autoscale")
"""What keys may do; a key without scopes has all of them. See api/middleware/access/scopes.py for what each permits."""
NAMES = ("priorities", "scopes")
"""Fields of a key that are lists in JSON."""
QUOTAS = ("tokens_per_day", "tokens_per_month", "gpu_hours_per_day", "gpu_hours_per_month")
"""Fields of a key that limit what its tenant uses in a day or a month, UTC."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret."""

    id: str
    tenant: str
    name: str = ""
    priorities: tuple[str, ...] = ("default", "low")
    """Priorities that its jobs may have."""
    max_open_jobs: int = 0
    """Of the tenant; 0: the service's default."""
    requests_per_minute: int = 0
    """0: the service's default."""
    created_ms: int = 0
    expires_ms: int = 0
    """0: never."""
    scopes: tuple[str, ...] = SCOPES
    tokens_per_day: float = 0
    """Of the tenant: tokens of prompts, thinking and answers of jobs that ended on this day; 0: no limit."""
    tokens_per_month: float = 0
    gpu_hours_per_day: float = 0
    gpu_hours_per_month: float = 0

    @property
    def is_expired(self) -> bool:
        return 0 < self.expires_ms <= time.time_ns() // 1_000_000

    @classmethod
    def from_stored(cls, stored: dict[str, Any]) -> "ApiKey":
        """Build a key from the fields of ``to_stored``.

        Raises:
            NewerDocument: it has a field or a scope that this version does not know, which may restrict the key.
        """
        if unknown := set(stored) - set(cls.__slots__):
            raise NewerDocument(f"The API key has fields of a newer version: {', '.join(sorted(unknown))}.")
        if unknown := set(stored.get("scopes", ())) - set(SCOPES):
            raise NewerDocument(f"The API key has scopes of a newer version: {', '.join(sorted(unknown))}.")
        return cls.from_fields(stored)

    @classmethod
    def for_lists(cls, stored: dict[str, Any]) -> "ApiKey":
        """Build a key, only to show it, from those of its stored fields that this version knows."""
        given = known_fields(cls, stored)
        return cls(**{**given, **{name: tuple(given[name]) for name in NAMES if name in given}})

    def to_stored(self) -> dict[str, Any]:
        """Return the fields that are set, so that an older version refuses only keys that use a field unknown to it."""
        values = asdict(self)
        return {field.name: values[field.name] for field in fields(self) if values[field.name] != field.default}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> "ApiKey":
        """Build a key from its JSON fields. Raises ValueError if one is unknown or invalid."""
        unknown = set(fields) - set(cls.__slots__)
        if unknown:
            raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
        given = {name: tuple(fields[name]) for name in NAMES if name in fields}
        key = cls(**{**fields, **given})
        if not TENANT.fullmatch(key.tenant):
            raise ValueError(
                f"tenant {key.tenant!r} must have 1 to 40 characters of a-z, 0-9, - and _, and start with a letter "
                "or digit"
            )
        _check_names("priorities", key.priorities, PRIORITIES)
        _check_names("scopes", key.scopes, SCOPES)
        return key

    @classmethod
    def from_input(cls, fields: dict[str, Any]) -> "ApiKey":
        """Build a key from fields that a person wrote. Raises ValueError, also for a value out of range."""
        key = cls.from_fields(fields)
        for name in ("id", "name"):
            value = getattr(key, name)
            if not isinstance(value, str) or len(value) > MAX_NAME_CHARACTERS:
                raise ValueError(f"{name} must be a string of at most {MAX_NAME_CHARACTERS} characters")
        for name in ("max_open_jobs", "requests_per_minute", "created_ms", "expires_ms"):
            value = getattr(key, name)
            if type(value) is not int or value < 0:
                raise ValueError(f"{name} must be a whole number, 0 or more, not {json.dumps(value)[:40]}")
        for name in QUOTAS:
            value = getattr(key, name)
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number, 0 or more, not {json.dumps(value)[:40]}")
        return key


ANONYMOUS = ApiKey(id="", tenant="default", name="no keys", priorities=PRIORITIES)
"""The caller of a service that runs without API keys."""


def _check_names(field: str, found: tuple[str, ...], allowed: Iterable[str]) -> None:
    if not found or set(found) - set(allowed):
        raise ValueError(f"{field} must be one or more of {', '.join(allowed)}")
