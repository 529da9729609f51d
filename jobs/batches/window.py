"""The requests of a batch that are submitted or wait for that, and what the work on them needs."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from jobs.batches.requests import Reply, Requests, Submitted
from jobs.batches.store import BatchStore
from jobs.lifecycle.end.ended_jobs import EndedJobReader
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.lifecycle.files import Files
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore

PART_LINES = 200
"""Of a part of the output, at most."""
DELETED = Reply(
    404, {"error": {"message": "The job was deleted.", "type": "invalid_request_error", "code": "job_not_found"}}
)


class LeaseLost(Exception):
    """Another runner has the batch."""


@dataclass
class Request:
    """A line of the window."""

    number: int
    custom_id: str
    end: int
    body: dict[str, Any] | None
    """None: it is submitted, refused or stopped."""
    submitted: Submitted | None = None
    reply: Reply | None = None
    has_ended: bool = False
    """Its reply can be written."""


@dataclass(frozen=True)
class Parts:
    """What a run works with."""

    store: BatchStore
    files: Files
    jobs: JobStore
    object_store: ObjectStore
    finalizer: JobFinalizer
    ended_jobs: EndedJobReader
    requests: Requests
    pool: ThreadPoolExecutor
    window: int
    max_line_bytes: int


def ended_head(window: deque[Request]) -> list[Request]:
    """Return the requests at the beginning that have ended, at most ``PART_LINES``."""
    head: list[Request] = []
    for request in window:
        if not request.has_ended or len(head) == PART_LINES:
            break
        head.append(request)
    return head
