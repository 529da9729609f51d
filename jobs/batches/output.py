"""Writes the lines of output and error files, and the files themselves."""

import hashlib
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from ulid import ULID

from jobs.batches.batch import Batch, BatchState
from jobs.batches.requests import Reply
from jobs.batches.store import BatchStore
from jobs.lifecycle.file_writer import FileWriter
from jobs.lifecycle.files import FILE_PREFIX, Files

OUTPUT, ERRORS = "output", "errors"
KINDS = (OUTPUT, ERRORS)
PURPOSE = "batch_output"
STOP_MESSAGES = {
    "batch_cancelled": "The batch was cancelled before this request was answered.",
    "batch_expired": "The batch expired before this request was answered.",
    "file_not_found": "The input file was deleted before this request was run.",
}


def line_of_reply(batch: Batch, number: int, custom_id: str, reply: Reply, job_id: str) -> tuple[str, bytes]:
    """Return the line of a request that was answered or refused, and the file to which it belongs."""
    response = {"status_code": reply.status, "request_id": job_id, "body": reply.body}
    kind = OUTPUT if reply.status == HTTPStatus.OK else ERRORS
    return kind, _line(batch, number, custom_id, response=response, error=None)


def line_of_stop(batch: Batch, number: int, custom_id: str, code: str) -> tuple[str, bytes]:
    """Return the line of a request that was not run to its end, because the batch was stopped."""
    error = {"code": code, "message": STOP_MESSAGES[code]}
    return ERRORS, _line(batch, number, custom_id, response=None, error=error)


def _line(batch: Batch, number: int, custom_id: str, **outcome: Any) -> bytes:
    document = {"id": f"{batch.id.replace('batch_', 'batch_req_')}_{number}", "custom_id": custom_id, **outcome}
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def part_name(part: str, kind: str) -> str:
    return f"{part}.{kind}"


def write_files(
    batch: Batch, state: BatchState, store: BatchStore, files: Files, renew: Callable[[], None]
) -> dict[str, str | None]:
    """Join the parts of a batch to its files.

    Args:
        renew: called before each part.

    Returns:
        The ids of the files by kind; None: no request belongs to it.
    """
    return {kind: _write_file(batch, state, store, files, renew, kind) for kind in KINDS}


def _write_file(
    batch: Batch, state: BatchState, store: BatchStore, files: Files, renew: Callable[[], None], kind: str
) -> str | None:
    writer: FileWriter | None = None
    for part in state.parts:
        renew()
        if not (lines := store.part(batch.id, part_name(part, kind))):
            continue
        writer = writer or files.start_output(batch.tenant, output_file_id(batch, kind), len(lines))
        writer.write(lines)
    if writer is None:
        return None
    filename = f"{batch.id}_{kind}.jsonl"
    return writer.finish(filename=filename, purpose=PURPOSE, lifetime_s=batch.output_lifetime_s).id


def output_file_id(batch: Batch, kind: str) -> str:
    """Return the id of a batch's file, which is the same at each attempt to write it."""
    digest = hashlib.sha256(f"{batch.id}/{kind}".encode()).digest()
    return FILE_PREFIX + str(ULID(batch.created_ms.to_bytes(6, "big") + digest[:10]))
