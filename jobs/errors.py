"""The tree of errors that api, workers and keeper share.

ThinkqueueError
├── Invalid               the request is invalid: names each field, what is wrong, what to do
├── IdempotencyConflict   the key was used for another request
├── Unauthorized          no API key, or an unknown one
├── Forbidden             the API key lacks a permission
├── NotFound              the job does not exist, or was deleted
│   ├── JobWithdrawn      the job was never accepted: its client got an error
│   ├── UploadNotFound
│   ├── FileMissing
│   ├── BatchNotFound
│   ├── DeliveryNotFound
│   └── ModelNotFound
├── NotEnded              only an ended job can be deleted or retried
├── Overloaded            try again after ``retry_after_s``
│   ├── TenantFull        the tenant has too many jobs that have not ended
│   ├── QuotaExceeded     the tenant has used what it may use today or this month
│   ├── TooManyStreams    on one api process
│   ├── TooManyUploads    the tenant has too many files, and uploads that no job has used
│   ├── TooManyBatches    the tenant has too many batches that have not ended, or too many stored ones
│   ├── TooManyDeliveries  of the tenant wait: no more are repeated, and no test events sent
│   ├── TooManyBodies     of one tenant arrive at one api process
│   ├── TooManyWaits      of one tenant: calls with ``Prefer: wait``
│   ├── TooManyCalls      of one tenant wait at one api process
│   ├── TooManyConnections  to one api process
│   ├── TooManyUnknownKeys  were sent from one address
│   └── RateLimited       the API key has made too many requests
├── Unavailable           a required server does not answer
│   ├── StoreUnavailable
│   │   └── JournalGap    Redis was restored without a job's newest events: send them again
│   ├── ObjectStoreUnavailable
│   │   ├── ObjectStoreNotCalled  the request was not sent
│   │   ├── ObjectUnavailable    the object store answers, but fails for this object: others are not affected
│   │   │   └── NewerDocument    the object was written by a newer version of the service
│   │   ├── ObjectStoreUnsuitable  the object store ignores ``If-None-Match``
│   │   └── PresignedUrlExpired  a conditional PUT came too late, or the clocks differ
│   ├── AcceptanceUnknown the job may have been accepted
│   └── IntakeClosed      by an operator
├── NotInitialized        there is no epoch: run ``thinkqueue init``
│   └── RecoveryNeeded    jobs exist, but the job table is empty
├── ClaimLost             another claim has the job, or it has ended: drop it, write nothing
│   └── RecordMissing     the job table does not know the job
├── Cancelled             the client cancelled the job: end it, do not release it
└── JobFailed             the job cannot succeed: ends it as ``failed`` with this code

The docstring of a class is its default message. Only ``api/errors/handlers.py`` knows HTTP status codes.
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
        super().__init__("; ".join(str(problem) for problem in problems))


class Problem:
    """One invalid field."""

    def __init__(self, pointer: str, message: str, code: str = "invalid_value") -> None:
        self.pointer = pointer
        """JSON pointer (RFC 6901) to the field; empty for the whole body."""
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return f"{self.pointer or 'the body'}: {self.message}"


class IdempotencyConflict(ThinkqueueError):
    """The Idempotency-Key was used for another request; send a new key, or repeat the same request."""

    code = "idempotency_conflict"


class Unauthorized(ThinkqueueError):
    """The API key is missing or not valid; send `Authorization: Bearer tq_…`."""

    code = "invalid_api_key"


class Forbidden(ThinkqueueError):
    """The API key lacks the permission for this request."""

    code = "forbidden"


class NotFound(ThinkqueueError):
    """The job does not exist, or its retention has ended."""

    code = "job_not_found"


class JobWithdrawn(NotFound):
    """The job was never accepted: the request that created it was answered with an error."""


class ResponseNotFound(NotFound):
    """The response does not exist, its retention has ended, or it was created with `store: false`."""

    code = "response_not_found"


class UploadNotFound(NotFound):
    """The upload does not exist; an unused upload is deleted at its `expires_at`."""

    code = "upload_not_found"


class FileMissing(NotFound):
    """The file does not exist, or has expired."""

    code = "file_not_found"


class BatchNotFound(NotFound):
    """The batch does not exist; batches are kept for 30 days."""

    code = "batch_not_found"


class DeliveryNotFound(NotFound):
    """The delivery does not exist, or its retention has ended."""

    code = "delivery_not_found"


class ModelNotFound(NotFound):
    """The model does not exist here."""

    code = "model_not_found"


class NotEnded(ThinkqueueError):
    """The job has not ended yet; cancel it, or wait."""

    code = "job_not_ended"


class Overloaded(ThinkqueueError):
    """Too many jobs are waiting; try again later."""

    code = "queue_full"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 30) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TenantFull(Overloaded):
    """Too many of your jobs have not ended; try again later."""

    code = "too_many_jobs"


class QuotaExceeded(Overloaded):
    """A quota of your API key is used up; wait until the next day or month, or ask the operator for a higher one."""

    code = "quota_exceeded"


class TooManyStreams(Overloaded):
    """Too many of your event streams are open; close some, poll the job, or try again later."""

    code = "too_many_streams"


class TooManyUploads(Overloaded):
    """You have too many files, and uploads that no job uses yet; delete files, or wait until some expire."""

    code = "too_many_uploads"


class TooManyBatches(Overloaded):
    """Too many of your batches have not ended; wait until some end, or cancel some."""

    code = "too_many_batches"


class TooManyDeliveries(Overloaded):
    """Too many of your deliveries wait to be sent; repeat fewer at the same time, or try again later."""

    code = "too_many_deliveries"


class TooManyWaits(Overloaded):
    """Too many of your calls wait for jobs; leave out `Prefer: wait` and poll the job, or try again later."""

    code = "too_many_waits"


class TooManyBodies(Overloaded):
    """Too many of your large request bodies are being received; send fewer at the same time."""

    code = "too_many_bodies"


class TooManyCalls(Overloaded):
    """Too many of your requests are being handled; send fewer at the same time."""

    code = "too_many_calls"


class TooManyConnections(Overloaded):
    """Too many connections to this process are open; try again later."""

    code = "too_many_connections"


class TooManyUnknownKeys(Overloaded):
    """Too many unknown API keys were sent from your address; check the key, and try again later."""

    code = "too_many_unknown_keys"


class RateLimited(Overloaded):
    """Too many requests with this API key; wait for the time in Retry-After."""

    code = "rate_limited"

    def __init__(
        self, message: str | None = None, *, retry_after_s: int = 60, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.headers = headers or {}
        """Headers of the reply that describe the limit."""


class Unavailable(ThinkqueueError):
    """A required server does not answer."""


class StoreUnavailable(Unavailable):
    """Redis does not answer; try again shortly."""

    code = "store_unavailable"


class JournalGap(StoreUnavailable):
    """Redis was restored without a job's newest events; send them again."""

    def __init__(self, last_seq: int) -> None:
        super().__init__()
        self.last_seq = last_seq
        """Sequence number of the newest event that Redis has."""


class ObjectStoreUnavailable(Unavailable):
    """The object store does not answer; try again shortly."""

    code = "object_store_unavailable"


class ObjectStoreNotCalled(ObjectStoreUnavailable):
    """The object store does not answer; nothing was sent to it, so nothing can take effect later."""


class ObjectUnavailable(ObjectStoreUnavailable):
    """The object store answers, but not for this object; try again shortly.

    Raised by workers only, which ask the store for another object first. The release of a job for this reason counts,
    and no other job has to wait.
    """

    def __init__(self, key: str, cause: str) -> None:
        super().__init__(f"The object store answers, but fails for the object {key}: {cause}")
        self.key = key


class NewerDocument(ObjectUnavailable):
    """A newer version of the service wrote this data; try again when the update of the service is complete."""

    code = "newer_version"

    def __init__(self, message: str | None = None) -> None:
        ThinkqueueError.__init__(self, message)


class ObjectStoreUnsuitable(ObjectStoreUnavailable):
    """The object store ignores If-None-Match on PUT, so results would not be final; use another one."""


class PresignedUrlExpired(ObjectStoreUnavailable):
    """The object store refused a conditional PUT: its URL has expired, or the clocks differ."""


class AcceptanceUnknown(Unavailable):
    """The job may have been accepted; repeat the request with its Idempotency-Key, or look for it in `GET /v1/jobs`."""

    code = "acceptance_unknown"


class IntakeClosed(Unavailable):
    """The service accepts no new jobs while it is being drained; try again later."""

    code = "intake_closed"


class NotInitialized(ThinkqueueError):
    """The service is not initialized; run `thinkqueue init` once."""

    code = "not_initialized"


class RecoveryNeeded(NotInitialized):
    """The job table is empty although jobs exist in the object store; run `thinkqueue recover`."""

    code = "recovery_needed"


class ClaimLost(ThinkqueueError):
    """Another claim has the job, or it has ended."""

    code = "claim_lost"


class RecordMissing(ClaimLost):
    """The job table does not know the job: it was deleted, or the table was lost."""


class Cancelled(ThinkqueueError):
    """The job was cancelled."""

    code = "cancelled"


class JobFailed(ThinkqueueError):
    """The job cannot succeed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.failure_code = code
