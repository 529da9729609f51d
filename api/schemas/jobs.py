"""Jobs: the request that creates one, and the replies."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, FailFast, Field, StringConstraints

from api.schemas import examples
from api.schemas.base import Reply, RequestBody, with_example
from api.schemas.checks.urls import HttpUrl
from api.schemas.messages import Message
from api.schemas.webhooks import CallbackBody
from jobs.model.public import public_job
from jobs.model.public.public_job import Priority, PublicJob
from jobs.model.retention import MAX_EXPIRES_S

MAX_SEED = 2**53 - 1
"""The largest integer that every JSON parser keeps exactly."""

Status = Literal["preparing", "queued", "running", "completed", "failed", "cancelled", "expired"]
ExpiresIn = Annotated[int, Field(ge=1, le=MAX_EXPIRES_S)]
StopString = Annotated[str, StringConstraints(min_length=1, max_length=256)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


def _check_turns(messages: list[Message]) -> list[Message]:
    roles = [message.role for message in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    if "system" in turns:
        raise ValueError("may contain one system message, and only as the first; join them into one")
    if not turns or turns[0] != "user" or turns[-1] != "user":
        raise ValueError("must start (after the system message) and end with a user message")
    return messages


class ThinkingOptions(RequestBody):
    """How long the model may think."""

    budget_tokens: Annotated[int, Field(ge=-1)]
    """Maximum number of thinking tokens: at N the service closes the thinking. 0: no thinking. -1: no limit."""


class SamplingOptions(RequestBody):
    """How tokens are sampled. Missing fields use the model's generation config."""

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    """0: greedy, the most likely token is always chosen."""
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    """Samples from the smallest set of tokens with at least this total probability."""
    top_k: Annotated[int, Field(ge=0, le=1_000)] | None = None
    """Samples from this many of the most likely tokens. 0: no limit."""
    repetition_penalty: Annotated[float, Field(ge=0.5, le=2, allow_inf_nan=False)] | None = None
    """Values over 1 make tokens that occurred before less likely."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    """The same request with the same seed gives the same tokens, up to rounding. Default: random."""


class ResponseFormat(RequestBody):
    """The form of the answer. It is enforced while the model writes; the thinking is free text."""

    type: Literal["json_object", "json_schema"]
    """`json_object`: any JSON object. `json_schema`: JSON that is valid under `schema`."""
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    """A JSON Schema of up to 32 KiB. Keywords that cannot be enforced, such as `not` and `uniqueItems`, are refused."""


class JobBody(RequestBody):
    """A conversation, and how the model should answer it."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.JOB_BODY]})

    messages: Annotated[list[Message], FailFast(), Field(min_length=1, max_length=256), AfterValidator(_check_turns)]
    """An optional `system` message, then turns that start and end with a `user` message."""
    previous_job_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Continues the conversation of one of your completed jobs: its messages, media and answer come first."""
    thinking: ThinkingOptions | None = None
    """Default: the model's budget, see `GET /v1/models`."""
    max_answer_tokens: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of answer tokens. Default: see `GET /v1/models`."""
    max_total_tokens: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of thinking and answer tokens together. A quarter of it, at least 16 tokens and at most the answer
    limit, is kept for the answer: the thinking budget is lowered to the rest. The answer gets what the thinking leaves,
    and `max_answer_tokens` only if you send it. Default: no limit besides the other two."""
    stop: Annotated[list[StopString], FailFast(), Field(max_length=4, default_factory=list)]
    """Up to 4 strings. The answer ends before the first of them, and `stop_string` of the job says which it was. The
    thinking is not affected."""
    response_format: ResponseFormat | None = None
    """Makes the answer JSON on one line. An answer that reaches its limit before the document ends is cut: its
    `finish_reason` is `length`."""
    sampling: SamplingOptions = SamplingOptions()
    """How tokens are sampled."""
    priority: Priority = "default"
    """Jobs of the three priorities are started at a ratio of 8:4:1. The API key must permit it. If none is sent and
    the key does not permit `default`, the job has the first priority that the key permits."""
    expires_in: ExpiresIn | None = None
    """Seconds until the job ends as `expired`, unless a worker has started it. Default: see `GET /v1/models`."""
    max_run_seconds: Annotated[int, Field(ge=1, le=24 * 3600)] | None = None
    """Maximum run time on a generate worker. Then the job fails with `run_time_exceeded`; partial output is kept."""
    retention_seconds: Annotated[int, Field(ge=60)] | None = None
    """How long the job is kept after it ends. Default and maximum: see `GET /v1/models`."""
    box_tokens: Literal["strip", "keep"] = "strip"
    """Whether `output.answer` keeps the model's special tokens around boxes. `output.raw` always has them."""
    callback: CallbackBody | None = None
    """Sends a signed webhook when the job ends."""
    result_urls: Annotated[list[HttpUrl], FailFast(), Field(max_length=4, default_factory=list)]
    """Your presigned PUT URLs. The result is uploaded to each as JSON, whose SHA-256 is `result_sha256`."""
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16, default_factory=dict)]
    """Up to 16 pairs for your own use. Webhooks contain them and lists can filter by them."""


class RetryBody(RequestBody):
    """What is different in the new job. Everything else is as in the earlier one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": "low", "expires_in": 3600}]})

    expires_in: ExpiresIn | None = None
    """Seconds until the new job ends as `expired`, unless a worker has started it. Default: as the earlier job."""
    priority: Priority | None = None
    """Priority of the new job. Default: that of the earlier job. The API key must permit it."""
    callback: CallbackBody | None = None
    """Replaces the webhook of the earlier job."""


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
