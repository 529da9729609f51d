"""Checks the fields of a new file, and writes file objects."""

from collections.abc import Mapping
from typing import Any

from api.errors.wording import quoted
from jobs.errors import Invalid, Problem
from jobs.model.retention import DAY_S
from jobs.objects.files import StoredFile
from jobs.objects.lifecycle_rules import FILE_RETENTION_DAYS

PURPOSES = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
"""What a client may say that a file is for."""
MIN_LIFETIME_S, MAX_LIFETIME_S = 3_600, FILE_RETENTION_DAYS * DAY_S
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"


def read_purpose(fields: Mapping[str, str]) -> str:
    """Return the purpose of a new file. Raises Invalid."""
    purpose = fields.get("purpose")
    if purpose is None:
        raise Invalid([Problem("/purpose", f"is missing; send one of {', '.join(PURPOSES)}", "missing")])
    if purpose not in PURPOSES:
        raise Invalid([Problem("/purpose", f"must be one of {', '.join(PURPOSES)}, not {quoted(purpose)}")])
    return purpose


def read_lifetime_s(fields: Mapping[str, str]) -> int:
    """Return how long a new file is kept. Raises Invalid."""
    anchor, seconds = fields.get(ANCHOR), fields.get(SECONDS)
    if anchor is None and seconds is None:
        return MAX_LIFETIME_S
    if anchor != "created_at":
        raise Invalid([Problem("/expires_after/anchor", f'must be "created_at", not {quoted(anchor)}')])
    is_number = seconds is not None and seconds.isascii() and seconds.isdecimal() and len(seconds) < 10
    lifetime_s = int(seconds) if seconds is not None and is_number else 0
    if not MIN_LIFETIME_S <= lifetime_s <= MAX_LIFETIME_S:
        expected = f"must be a whole number from {MIN_LIFETIME_S} to {MAX_LIFETIME_S}"
        raise Invalid([Problem("/expires_after/seconds", f"{expected}, not {quoted(seconds)}")])
    return lifetime_s


def file_object(file: StoredFile) -> dict[str, Any]:
    """Return OpenAI's object of a file."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_ms // 1000,
        "expires_at": file.expires_ms // 1000,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }
