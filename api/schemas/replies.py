"""What clients are answered."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from api.schemas import examples
from jobs.model import public_job
from jobs.model.public_job import PublicJob

Status = Literal["preparing", "queued", "running", "completed", "failed", "cancelled", "expired"]


def shown(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class ErrorDetail(BaseModel):
    message: str
    type: str
    code: str
    param: str | None


class Fault(BaseModel):
    pointer: str
    """JSON pointer into the body, or ``query:name``, ``path:name``, ``header:name``."""
    code: str
    message: str


class ProblemReply(BaseModel):
    """RFC 9457 with OpenAI's ``error`` in it; codes are listed in docs/errors.md."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    error: ErrorDetail
    errors: list[Fault] | None = None


class JobSummary(public_job.JobSummary):
    """A job without its output, as lists contain it. Fields that are not known yet are null."""

    model_config = shown(examples.SUMMARY)


class JobReply(PublicJob):
    """A job in its current state. Each reply has new presigned URLs."""

    model_config = shown(examples.JOB)


class JobList(BaseModel):
    """Newest first. While ``has_more``, ask again with ``after`` = ``last_id``."""

    model_config = shown(examples.JOB_LIST)

    object: Literal["list"] = "list"
    data: list[JobSummary]
    has_more: bool
    first_id: str | None
    last_id: str | None
    """Where the next page begins; with a filter not always the last of ``data``."""


class UploadReply(BaseModel):
    model_config = shown(examples.UPLOAD)

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    expires_at: int
    method: Literal["PUT"] = "PUT"
    url: str | None
    """PUT the whole file there, with its ``Content-Length``; null for an upload in parts."""
    part_bytes: int | None
    """Size of each part but the last."""
    part_urls: list[str]
    """PUT a part to each, then send the ``ETag``s to ``/v1/uploads/<id>/complete``."""


class SecretReply(BaseModel):
    model_config = shown(examples.SECRET)

    object: Literal["webhook_secret"] = "webhook_secret"
    version: int
    rotated_at: int | None
    old_secret_expires_at: int | None
    """Until then webhooks carry two signatures."""
    secret: str | None
    """Shown once, in the reply to a rotation."""


class AttemptReply(BaseModel):
    at: str
    status: int | None
    """Of the receiver's answer; null: there was none, and ``error`` says why."""
    error: str | None
    latency_ms: int
    reply: str
    """How the answer began: 512 bytes at most."""


class DeliveryReply(BaseModel):
    model_config = shown(examples.DELIVERY)

    id: str
    """Of a webhook also the event's id; ``copy_<job>_<number>`` of a copy of the result."""
    object: Literal["webhook_delivery"] = "webhook_delivery"
    event_type: str
    state: Literal["pending", "delivered", "abandoned"]
    attempts: list[AttemptReply]


class DeliveryList(BaseModel):
    model_config = shown(examples.DELIVERY_LIST)

    object: Literal["list"] = "list"
    data: list[DeliveryReply]


class ModelReply(BaseModel):
    model_config = shown(examples.MODEL)

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    family: str
    context_tokens: int
    defaults: dict[str, Any]
    """What a job gets that does not ask: thinking budget, answer limit, sampling."""
    limits: dict[str, int]
    media: dict[str, Any]


class ModelList(BaseModel):
    model_config = shown(examples.MODEL_LIST)

    object: Literal["list"] = "list"
    data: list[ModelReply]


class DayReply(BaseModel):
    day: str
    jobs: dict[str, int]
    """By terminal status."""
    input_tokens: int
    thinking_tokens: int
    answer_tokens: int
    gpu_seconds: float


class UsageReply(BaseModel):
    model_config = shown(examples.USAGE)

    object: Literal["list"] = "list"
    data: list[DayReply]
    """Days (UTC) on which something ended, oldest first."""


class StageScale(BaseModel):
    wanted: int
    """Workers."""
    reason: Literal["busy", "backlog", "arrivals", "deadlines", "warm", "idle"]
    """What asks for the most."""
    backlog_seconds: float
    """Until the present workers have done what waits; -1: there are none."""
    jobs_per_second_per_worker: float
    arrivals_per_second: float
    waiting: int
    in_progress: int
    """Jobs that a worker has."""
    workers: dict[str, int]
    """By state: ``starting``, ``ready``, ``draining``."""
    busy: int


class AutoscaleReply(BaseModel):
    model_config = shown(examples.AUTOSCALE)

    prepare: StageScale
    generate: StageScale


class LiveReply(BaseModel):
    model_config = shown({"status": "live"})

    status: Literal["live"]


class ReadyReply(BaseModel):
    model_config = shown(examples.READY)

    status: Literal["ready", "not_ready"]
    checks: dict[str, str]
    """``ok``, or what is wrong."""
    workers: dict[str, int]
    """Ready ones by stage."""
