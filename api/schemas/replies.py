"""The bodies of the API's replies. The docstrings of the fields are their descriptions in the OpenAPI document."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from api.schemas import examples
from jobs.model import public_job
from jobs.model.public_job import PublicJob

Status = Literal["preparing", "queued", "running", "completed", "failed", "cancelled", "expired"]


class Reply(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


def with_example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]}, use_attribute_docstrings=True)


class ErrorDetail(Reply):
    """The error in OpenAI's form."""

    message: str
    """The same text as `detail`."""
    type: str
    """`invalid_request_error`, `rate_limit_error` or `server_error`."""
    code: str
    """The same as the outer `code`."""
    param: str | None
    """Location of the first problem in `errors`; null without problems."""


class FieldProblem(Reply):
    """One problem of a request."""

    pointer: str
    """JSON pointer into the body, or `query:name`, `path:name` or `header:name`."""
    code: str
    """`missing`, `unknown_field`, `invalid_value` or `invalid_json`."""
    message: str
    """What is wrong and what to do."""


class ProblemReply(Reply):
    """An error: RFC 9457 problem details that also contain OpenAI's `error` object. docs/errors.md lists the codes."""

    type: str
    """Always `about:blank`; use `code` instead."""
    title: str
    """The name of the HTTP status."""
    status: int
    """The HTTP status."""
    code: str
    """A stable code for programs."""
    detail: str
    """What went wrong, for people."""
    request_id: str | None
    """Also the `x-request-id` header, and in the service's logs."""
    error: ErrorDetail
    """For OpenAI's clients."""
    errors: list[FieldProblem] | None = None
    """Each problem of a request that failed validation."""


class JobSummary(public_job.JobSummary):
    """A job without its output, as lists contain it. Fields that are not known yet are null."""

    model_config = with_example(examples.SUMMARY)


class JobReply(PublicJob):
    """A job in its current state. Each reply has new presigned URLs."""

    model_config = with_example(examples.JOB)


class JobList(Reply):
    """A page of jobs, newest first. While `has_more`, request the next page with `after` set to `last_id`."""

    model_config = with_example(examples.JOB_LIST)

    object: Literal["list"] = "list"
    data: list[JobSummary]
    """The jobs of this page."""
    has_more: bool
    """Whether there is another page."""
    first_id: str | None
    """Id of the first job of this page."""
    last_id: str | None
    """Where the next page starts. With a filter, not always the last job of `data`."""


class UploadReply(Reply):
    """An upload, and where to PUT its bytes."""

    model_config = with_example(examples.UPLOAD)

    id: str
    """Use `upload:<id>` wherever a job takes a URL."""
    object: Literal["upload"] = "upload"
    bytes: int
    """The announced size."""
    expires_at: int
    """When the upload is deleted, in seconds since 1970. Jobs have copies of their own."""
    method: Literal["PUT"] = "PUT"
    url: str | None
    """PUT the whole file here, with its `Content-Length`. Null for a multipart upload."""
    part_bytes: int | None
    """Size of each part except the last. Null for an upload in one piece."""
    part_urls: list[str]
    """PUT one part to each, then send their `ETag` headers to `POST /v1/uploads/{upload_id}/complete`."""


class SecretReply(Reply):
    """The tenant's webhook secret."""

    model_config = with_example(examples.SECRET)

    object: Literal["webhook_secret"] = "webhook_secret"
    version: int
    """Increases with each rotation."""
    rotated_at: int | None
    """Time of the last rotation, in seconds since 1970; null before the first."""
    old_secret_expires_at: int | None
    """Until then webhooks carry two signatures, one with the old secret. Null when only one secret signs."""
    secret: str | None
    """The secret; only the reply to a rotation contains it."""


class AttemptReply(Reply):
    """One attempt of a delivery."""

    at: str
    """Time of the attempt: ISO 8601, UTC."""
    status: int | None
    """The receiver's HTTP status. Null when there was no response; `error` says why."""
    error: str | None
    """Why there was no response; null when there was one."""
    latency_ms: int
    """Duration of the attempt."""
    reply: str
    """The first 512 bytes of the receiver's response."""


class DeliveryReply(Reply):
    """A webhook, or the upload of a result copy, with its attempts."""

    model_config = with_example(examples.DELIVERY)

    id: str
    """Id of the webhook's event; for a result copy `copy_<job>_<number>`."""
    object: Literal["webhook_delivery"] = "webhook_delivery"
    event_type: str
    """Type of the event; `result.copy` for a result copy."""
    state: Literal["pending", "delivered", "abandoned"]
    """`pending`: another attempt follows. `abandoned`: the attempts are used up, or the receiver answered 410."""
    attempts: list[AttemptReply]
    """Oldest first."""


class DeliveryList(Reply):
    """The deliveries of a job."""

    model_config = with_example(examples.DELIVERY_LIST)

    object: Literal["list"] = "list"
    data: list[DeliveryReply]
    """The job's webhook and its result copies."""


class ModelReply(Reply):
    """The model that the service runs, in OpenAI's form with added fields."""

    model_config = with_example(examples.MODEL)

    id: str
    """The value of `MODEL`."""
    object: Literal["model"] = "model"
    created: int
    """Always 0; OpenAI's clients require it."""
    owned_by: str
    """Always `thinkqueue`; OpenAI's clients require it."""
    family: str
    """The model family, which determines the chat template and the limits."""
    context_tokens: int
    """Tokens of prompt, thinking and answer together."""
    defaults: dict[str, Any]
    """The values of the fields that a job leaves out."""
    limits: dict[str, int]
    """The limits of this installation."""
    media: dict[str, Any]
    """Formats and pixel limits by type of content part."""


class ModelList(Reply):
    """A list of the one model."""

    model_config = with_example(examples.MODEL_LIST)

    object: Literal["list"] = "list"
    data: list[ModelReply]
    """The model."""


class DailyUsage(Reply):
    """The usage of one day."""

    day: str
    """The UTC day, such as `2026-11-23`."""
    jobs: dict[str, int]
    """Ended jobs by terminal status."""
    input_tokens: int
    """Tokens of prompts, media included."""
    thinking_tokens: int
    """Generated thinking tokens."""
    answer_tokens: int
    """Generated answer tokens."""
    gpu_seconds: float
    """Time on the generate worker. Jobs in the same batch share it."""


class UsageReply(Reply):
    """A tenant's usage by day."""

    model_config = with_example(examples.USAGE)

    object: Literal["list"] = "list"
    data: list[DailyUsage]
    """The UTC days on which a job ended, oldest first."""


class StageScale(Reply):
    """The wanted workers of one stage, and the figures used to decide."""

    wanted: int
    """Number of workers that the stage should have."""
    reason: Literal["busy", "backlog", "arrivals", "deadlines", "warm", "idle"]
    """The rule that asks for the most workers."""
    backlog_seconds: float
    """Time the present workers need for the waiting jobs; -1 when there is no worker."""
    jobs_per_second_per_worker: float
    """Throughput of one worker."""
    arrivals_per_second: float
    """Recent rate of new jobs."""
    waiting: int
    """Jobs in the stage's queue."""
    in_progress: int
    """Jobs that a worker has claimed."""
    workers: dict[str, int]
    """Workers by state: `starting`, `ready`, `draining`."""
    busy: int
    """Workers that run at least one job."""


class AutoscaleReply(Reply):
    """The wanted workers of each stage."""

    model_config = with_example(examples.AUTOSCALE)

    prepare: StageScale
    """The CPU stage: fetches and converts media."""
    generate: StageScale
    """The GPU stage: runs the model."""


class LiveReply(Reply):
    """The process runs."""

    model_config = with_example({"status": "live"})

    status: Literal["live"]


class ReadyReply(Reply):
    """Whether the service can accept jobs."""

    model_config = with_example(examples.READY)

    status: Literal["ready", "not_ready"]
    """`ready` when all checks are `ok`."""
    checks: dict[str, str]
    """By server: `ok`, or what is wrong."""
    workers: dict[str, int]
    """Ready workers by stage. Accepting jobs does not need them."""
