"""Reads the body of a new batch, and writes batch objects."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from api.errors.wording import quoted
from api.openai.batches.requests import ENDPOINTS, PRIORITY
from api.openai.files.fields import MAX_LIFETIME_S, MIN_LIFETIME_S
from api.openai.request.fields import HONORED, Fields, FieldTable, invalid, read_fields, unknown_names
from jobs.batches.batch import Batch
from jobs.batches.batches import FoundBatch, new_batch_id
from jobs.errors import FileMissing, Forbidden
from jobs.lifecycle.files import Files
from jobs.model.times import now_ms
from jobs.tenants.api_key import ApiKey

BATCH_FIELDS: FieldTable = dict.fromkeys(
    ("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"), HONORED
)
EXPIRY_FIELDS: FieldTable = {"anchor": HONORED, "seconds": HONORED}
COMPLETION_WINDOW = "24h"
MAX_METADATA, MAX_KEY_CHARACTERS, MAX_VALUE_CHARACTERS = 16, 64, 512
TIMES = {
    "in_progress_at": "in_progress",
    "finalizing_at": "finalizing",
    "completed_at": "completed",
    "failed_at": "failed",
    "expired_at": "expired",
    "cancelling_at": "cancelling",
    "cancelled_at": "cancelled",
}


def read_batch(body: Mapping[str, Any], key: ApiKey, files: Files) -> tuple[Batch, tuple[str, ...]]:
    """Return a new batch, and the names of fields that have no effect.

    Raises:
        Invalid: names the client's fields.
        Forbidden: the key does not permit the priority of batches.
    """
    fields = read_fields(body, BATCH_FIELDS)
    endpoint = _one_of(fields, "endpoint", ENDPOINTS)
    _one_of(fields, "completion_window", (COMPLETION_WINDOW,))
    expiry = fields.nested("output_expires_after", EXPIRY_FIELDS)
    if PRIORITY not in key.priorities:
        raise Forbidden(f"Batches run at priority {PRIORITY}, which this API key does not permit.")
    batch = Batch(
        id=new_batch_id(),
        tenant=key.tenant,
        created_ms=now_ms(),
        endpoint=endpoint,
        input_file_id=_input_file(fields, key.tenant, files),
        api_key=asdict(key),
        output_lifetime_s=_lifetime_s(expiry),
        metadata=_metadata(fields),
    )
    return batch, unknown_names(fields, expiry)


def batch_object(found: FoundBatch) -> dict[str, Any]:
    """Return OpenAI's object of a batch."""
    batch, state = found.batch, found.state
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": state.model,
        "errors": {"object": "list", "data": state.errors} if state.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": COMPLETION_WINDOW,
        "status": state.status,
        "output_file_id": state.output_file_id,
        "error_file_id": state.error_file_id,
        "created_at": batch.created_ms // 1000,
        "expires_at": batch.expires_ms // 1000,
        **{name: _seconds(state.times_ms.get(status)) for name, status in TIMES.items()},
        "request_counts": {"total": state.total, "completed": state.completed, "failed": state.failed},
        "usage": _usage(state.usage),
        "metadata": batch.metadata,
    }


def _usage(usage: Mapping[str, int]) -> dict[str, Any]:
    prompt, thinking = usage.get("input_tokens", 0), usage.get("thinking_tokens", 0)
    generated = thinking + usage.get("answer_tokens", 0)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": generated,
        "output_tokens_details": {"reasoning_tokens": thinking},
        "total_tokens": prompt + generated,
    }


def _seconds(time_ms: int | None) -> int | None:
    return None if time_ms is None else time_ms // 1000


def _one_of(fields: Fields, name: str, values: tuple[str, ...]) -> str:
    value = fields.get(name)
    if value not in values:
        expected = " or ".join(f'"{one}"' for one in values)
        raise invalid((name,), f"must be {expected}, not {quoted(value)}")
    return str(value)


def _input_file(fields: Fields, tenant: str, files: Files) -> str:
    file_id = fields.get("input_file_id")
    if not isinstance(file_id, str):
        raise invalid(("input_file_id",), f"must be the id of a file, not {quoted(file_id)}")
    try:
        file = files.get(tenant, file_id)
    except FileMissing:
        raise invalid(("input_file_id",), "names a file that does not exist or has expired") from None
    if file.purpose != "batch":
        raise invalid(("input_file_id",), f'names a file with the purpose "{file.purpose}"; it must be "batch"')
    return file.id


def _lifetime_s(expiry: Fields) -> int:
    if not expiry.values:
        return MAX_LIFETIME_S
    expiry.read("anchor", lambda value: value == "created_at", '"created_at"')
    seconds = expiry.get("seconds")
    is_number = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not is_number or not MIN_LIFETIME_S <= seconds <= MAX_LIFETIME_S:
        expected = f"must be a whole number from {MIN_LIFETIME_S} to {MAX_LIFETIME_S}"
        raise invalid((*expiry.at, "seconds"), f"{expected}, not {quoted(seconds)}")
    return int(seconds)


def _metadata(fields: Fields) -> dict[str, str] | None:
    value = fields.read("metadata", lambda found: isinstance(found, dict), "an object")
    if value is None:
        return None
    if len(value) > MAX_METADATA:
        raise invalid(("metadata",), f"has {len(value)} pairs; the limit is {MAX_METADATA}")
    for name, text in value.items():
        if not 1 <= len(name) <= MAX_KEY_CHARACTERS:
            raise invalid(("metadata",), f"has a key that does not have 1 to {MAX_KEY_CHARACTERS} characters")
        if not isinstance(text, str) or len(text) > MAX_VALUE_CHARACTERS:
            raise invalid(("metadata", name), f"must be a string of at most {MAX_VALUE_CHARACTERS} characters")
    return dict(value)
