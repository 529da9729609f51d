"""The one tree of errors that api, workers and keeper share.

ThinkqueueError
├── Invalid               the request is wrong: says which field, what is wrong, what to do
├── IdempotencyConflict   the key was used for another request
├── NotFound              no such job (any more)
├── Overloaded            try again after ``retry_after_s``
├── Unavailable           a server that we need does not answer
│   ├── StoreUnavailable
│   └── BlobsUnavailable
├── NotInitialised        no epoch yet: run ``thinkqueue init``
│   └── RecoveryNeeded    jobs exist, but the job table is empty
├── ClaimLost             another owner has the job, or it has ended: drop it, write nothing
└── JobFailed             the job itself cannot be done: ends it as ``failed`` with this code

The docstring of a class is its default message. HTTP status codes stand only in ``api/errors.py``.
"""

from typing import ClassVar


class ThinkqueueError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        super().__init__(self.message)


class Invalid(ThinkqueueError):
    """The request is not valid."""

    code = "invalid_request"

    def __init__(self, problems: list["Problem"]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{problem.pointer or '/'}: {problem.message}" for problem in problems))


class Problem:
    """One fault of one field."""

    def __init__(self, pointer: str, message: str, code: str = "invalid_value") -> None:
        self.pointer = pointer
        """Where, as a JSON pointer (RFC 6901); empty for the whole body."""
        self.message = message
        self.code = code


class IdempotencyConflict(ThinkqueueError):
    """The Idempotency-Key was used for another request; send a new key, or the same request again."""

    code = "idempotency_conflict"


class NotFound(ThinkqueueError):
    """There is no such job; it may have outlived its retention."""

    code = "job_not_found"


class Overloaded(ThinkqueueError):
    """Too many jobs wait; try again later."""

    code = "queue_full"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 30) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(ThinkqueueError):
    """A server that the service needs does not answer."""


class StoreUnavailable(Unavailable):
    """Redis does not answer; try again shortly."""

    code = "store_unavailable"


class BlobsUnavailable(Unavailable):
    """The object store does not answer; try again shortly."""

    code = "object_store_unavailable"


class NotInitialised(ThinkqueueError):
    """The service was never initialised here: run `thinkqueue init` once."""

    code = "not_initialised"


class RecoveryNeeded(NotInitialised):
    """The job table is empty although jobs exist in the object store: Redis has lost its data."""

    code = "recovery_needed"


class ClaimLost(ThinkqueueError):
    """The job belongs to another claim now, or has ended."""

    code = "claim_lost"


class JobFailed(ThinkqueueError):
    """The job cannot be done."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.failure_code = code
