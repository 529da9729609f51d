"""The one tree of errors that api, workers and keeper share.

ThinkqueueError
├── Invalid               the request is wrong: says which field, what is wrong, what to do
├── IdempotencyConflict   the key was used for another request
├── Unauthorized          no API key, or one that is not known
├── Forbidden             the key may not do that
├── NotFound              no such job (any more)
│   ├── UploadNotFound
│   ├── DeliveryNotFound
│   └── ModelNotFound
├── NotEnded              only an ended job can be removed or run again
├── Overloaded            try again after ``retry_after_s``
│   ├── TenantFull        the tenant has enough jobs on their way
│   ├── TooManyStreams    on one api process
│   └── RateLimited       the key has made enough requests
├── Unavailable           a server that we need does not answer
│   ├── StoreUnavailable
│   │   └── JournalGap    it came back without a job's newest events: send them again
│   ├── ObjectStoreUnavailable
│   │   └── PresignedUrlExpired   a conditional PUT came too late, or the clocks differ
│   └── IntakeClosed      by an operator
├── NotInitialized        no epoch yet: run ``thinkqueue init``
│   └── RecoveryNeeded    jobs exist, but the job table is empty
├── ClaimLost             another owner has the job, or it has ended: drop it, write nothing
│   └── RecordMissing     the job table does not know it
├── Cancelled             its client wants no answer any more: end it, do not hand it on
└── JobFailed             the job itself cannot be done: ends it as ``failed`` with this code

The docstring of a class is its default message. HTTP status codes stand only in ``api/errors/handlers.py``.
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


class Unauthorized(ThinkqueueError):
    """Send an API key that is valid here: `Authorization: Bearer tq_…`."""

    code = "invalid_api_key"


class Forbidden(ThinkqueueError):
    """The API key may not do that."""

    code = "forbidden"


class NotFound(ThinkqueueError):
    """There is no such job; it may have outlived its retention."""

    code = "job_not_found"


class UploadNotFound(NotFound):
    """There is no such upload; an unused upload is deleted at its `expires_at`."""

    code = "upload_not_found"


class DeliveryNotFound(NotFound):
    """There is no such delivery; it may have outlived its retention."""

    code = "delivery_not_found"


class ModelNotFound(NotFound):
    """There is no such model here."""

    code = "model_not_found"


class NotEnded(ThinkqueueError):
    """The job has not ended yet; cancel it first, or wait."""

    code = "job_not_ended"


class Overloaded(ThinkqueueError):
    """Too many jobs wait; try again later."""

    code = "queue_full"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 30) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TenantFull(Overloaded):
    """Too many of your jobs have not ended; try again later."""

    code = "too_many_jobs"


class TooManyStreams(Overloaded):
    """Too many event streams are open here; poll, or try again later."""

    code = "too_many_streams"


class RateLimited(Overloaded):
    """Too many requests with this API key; wait as long as Retry-After says."""

    code = "rate_limited"

    def __init__(
        self, message: str | None = None, *, retry_after_s: int = 60, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.headers = headers or {}
        """What the reply is to say of the limit."""


class Unavailable(ThinkqueueError):
    """A server that the service needs does not answer."""


class StoreUnavailable(Unavailable):
    """Redis does not answer; try again shortly."""

    code = "store_unavailable"


class JournalGap(StoreUnavailable):
    """Redis came back without a job's newest events; send them again."""

    def __init__(self, last_seq: int) -> None:
        super().__init__()
        self.last_seq = last_seq
        """Of the newest event that it has."""


class ObjectStoreUnavailable(Unavailable):
    """The object store does not answer; try again shortly."""

    code = "object_store_unavailable"


class PresignedUrlExpired(ObjectStoreUnavailable):
    """The object store refused a conditional PUT: its URL has expired, or the clocks differ."""


class IntakeClosed(Unavailable):
    """No new jobs are taken while the service is being drained; try again later."""

    code = "intake_closed"


class NotInitialized(ThinkqueueError):
    """The service was never initialized here: run `thinkqueue init` once."""

    code = "not_initialized"


class RecoveryNeeded(NotInitialized):
    """The job table is empty although jobs exist in the object store: run `thinkqueue recover`."""

    code = "recovery_needed"


class ClaimLost(ThinkqueueError):
    """The job belongs to another claim now, or has ended."""

    code = "claim_lost"


class RecordMissing(ClaimLost):
    """The job table does not know the job: it was removed, or the table was lost."""


class Cancelled(ThinkqueueError):
    """The job was cancelled."""

    code = "cancelled"


class JobFailed(ThinkqueueError):
    """The job cannot be done."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.failure_code = code
