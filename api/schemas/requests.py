"""The bodies of requests. Unknown fields are refused by name, so no field is ignored silently.

The docstrings of the fields are their descriptions in the OpenAPI document.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from api.schemas import examples
from api.schemas.urls import UPLOAD, HttpUrl, MediaUrl
from jobs.model.page_ranges import PAGES, PageSelection

WEEK_S = 7 * 24 * 3600
MAX_SEED = 2**53 - 1
"""The largest integer that every JSON parser keeps exactly."""

TerminalEvent = Literal["job.completed", "job.failed", "job.cancelled", "job.expired"]


def _check_pages(text: str) -> str:
    PageSelection.parse(text)
    return text


Pages = Annotated[
    str, StringConstraints(max_length=512), AfterValidator(_check_pages), Field(json_schema_extra={"pattern": PAGES})
]


def _as_parts(content: Any) -> Any:
    """Convert a plain string to one text part, as OpenAI's API does."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class RequestBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class TextPart(RequestBody):
    """Text."""

    type: Literal["text"]
    text: Annotated[str, StringConstraints(min_length=1)]
    """The text."""


class ImageUrl(RequestBody):
    """The source of an image and the number of tokens to spend on it."""

    url: MediaUrl
    """`http(s)://…`, `data:…;base64,…` or `upload:<id>`."""
    detail: Literal["auto", "low", "high"] = "auto"
    """`low` spends few tokens, for images without small details. `auto` and `high` use the model's full resolution."""
    max_pixels: Annotated[int, Field(ge=1)] | None = None
    """Larger images are scaled down to this many pixels. Overrides `detail`; the model's own limits still apply."""


class ImagePart(RequestBody):
    """An image: PNG, JPEG, WebP, GIF, BMP, TIFF or HEIC; of several frames or pages the first."""

    type: Literal["image_url"]
    image_url: ImageUrl
    """The image."""


class VideoUrl(RequestBody):
    """The source of a video and the number of tokens to spend on it."""

    url: MediaUrl
    """`http(s)://…`, `data:…;base64,…` or `upload:<id>`."""
    max_frames: Annotated[int, Field(ge=2)] | None = None
    """The largest number of frames shown to the model, evenly spaced. The number of frames is always even."""
    max_pixels: Annotated[int, Field(ge=1)] | None = None
    """Total pixels of all frames; larger frames are scaled down. The model's own limits still apply."""


class VideoPart(RequestBody):
    """A video: MP4, MOV, WebM, MKV or AVI."""

    type: Literal["video_url"]
    video_url: VideoUrl
    """The video."""


class FileSource(RequestBody):
    """The source of a document. Exactly one of `file_url`, `file_data` and `file_id` is required."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [name]} for name in ("file_url", "file_data", "file_id")]}
    )

    file_url: MediaUrl | None = None
    """`http(s)://…`, `data:…;base64,…` or `upload:<id>`."""
    file_data: Annotated[str, StringConstraints(min_length=1)] | None = None
    """The file in base64, plain or as a `data:` URL."""
    file_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Id of an upload (see `POST /v1/uploads`)."""
    filename: Annotated[str, StringConstraints(max_length=255)] | None = None
    """Not used: the type is detected from the content."""
    pages: Pages | None = None
    """Pages in the order in which the model sees them, such as `1-5,9` or `3-`. Default: all."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if sum(source is not None for source in (self.file_url, self.file_data, self.file_id)) != 1:
            raise ValueError("must have exactly one of file_url, file_data and file_id")
        return self

    @property
    def url(self) -> str:
        """The source in the form that all media share."""
        if self.file_id is not None:
            return UPLOAD + self.file_id
        if self.file_data is not None:
            return self.file_data if self.file_data[:5].lower() == "data:" else f"data:;base64,{self.file_data}"
        return self.file_url or ""


class FilePart(RequestBody):
    """A document: PDF, PPTX, PPT or ODP. The model sees each page as an image."""

    type: Literal["file"]
    file: FileSource
    """The document."""


def _part_tag(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    # In angle brackets, so api/errors/validation.py can distinguish a tag from a field in an error's location.
    return f"<{kind}>" if isinstance(kind, str) else None


AnyPart = TextPart | ImagePart | VideoPart | FilePart
Part = Annotated[
    Annotated[TextPart, Tag("<text>")]
    | Annotated[ImagePart, Tag("<image_url>")]
    | Annotated[VideoPart, Tag("<video_url>")]
    | Annotated[FilePart, Tag("<file>")],
    Discriminator(
        _part_tag,
        custom_error_type="unknown_part",
        custom_error_message="type must be 'text', 'image_url', 'video_url' or 'file'",
    ),
]


def _allow_string_content(schema: dict[str, Any]) -> None:
    parts = schema["properties"]["content"]
    description = parts.pop("description")
    schema["properties"]["content"] = {
        "description": description,
        "anyOf": [{"type": "string", "minLength": 1}, parts],
    }


class Message(RequestBody):
    """One message of the conversation."""

    model_config = ConfigDict(json_schema_extra=_allow_string_content)

    role: Literal["system", "user", "assistant"]
    """An `assistant` message is an earlier answer; its thinking is removed before the model sees it."""
    content: Annotated[list[Part], BeforeValidator(_as_parts), Field(min_length=1, max_length=256)]
    """A string, or a list of parts. Only `user` messages may contain media."""

    @model_validator(mode="after")
    def _check_media_are_in_user_messages(self) -> Self:
        if self.role != "user" and any(not isinstance(part, TextPart) for part in self.content):
            raise ValueError(f"a {self.role} message takes text only; move its media to a user message")
        return self


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


class CallbackBody(RequestBody):
    """Where and for which events to send a webhook."""

    url: HttpUrl
    """Receives the webhook as a POST."""
    events: Annotated[
        list[TerminalEvent],
        Field(
            min_length=1,
            default_factory=lambda: ["job.completed", "job.failed", "job.cancelled", "job.expired"],
        ),
    ]
    """The terminal events to send. Default: all."""


MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class JobBody(RequestBody):
    """A conversation, and how the model should answer it."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.JOB_BODY]})

    messages: Annotated[list[Message], Field(min_length=1, max_length=256)]
    """An optional `system` message, then turns that start and end with a `user` message."""
    previous_job_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Continues the conversation of one of your completed jobs: its messages, media and answer come first."""
    thinking: ThinkingOptions | None = None
    """Default: the model's budget, see `GET /v1/models`."""
    max_answer_tokens: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of answer tokens. Default: see `GET /v1/models`."""
    sampling: SamplingOptions = SamplingOptions()
    """How tokens are sampled."""
    priority: Literal["high", "default", "low"] = "default"
    """Jobs of the three priorities are started at a ratio of 8:4:1. The API key must permit the priority."""
    expires_in: Annotated[int, Field(ge=1, le=WEEK_S)] | None = None
    """Seconds until the job ends as `expired`, unless a worker has started it. Default: see `GET /v1/models`."""
    max_run_seconds: Annotated[int, Field(ge=1, le=24 * 3600)] | None = None
    """Maximum run time on a generate worker. Then the job fails with `run_time_exceeded`; partial output is kept."""
    retention_seconds: Annotated[int, Field(ge=60)] | None = None
    """How long the job is kept after it ends. Default and maximum: see `GET /v1/models`."""
    box_tokens: Literal["strip", "keep"] = "strip"
    """Whether `output.answer` keeps the model's special tokens around boxes. `output.raw` always has them."""
    callback: CallbackBody | None = None
    """Sends a signed webhook when the job ends."""
    result_urls: Annotated[list[HttpUrl], Field(max_length=4, default_factory=list)]
    """Your presigned PUT URLs. The result is uploaded to each as JSON, whose SHA-256 is `result_sha256`."""
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16, default_factory=dict)]
    """Up to 16 pairs for your own use. Webhooks contain them and lists can filter by them."""

    @model_validator(mode="after")
    def _check_turns(self) -> Self:
        roles = [message.role for message in self.messages]
        turns = roles[1:] if roles[0] == "system" else roles
        if "system" in turns:
            raise ValueError("messages may contain one system message, and only as the first")
        if not turns or turns[0] != "user" or turns[-1] != "user":
            raise ValueError("messages must start (after the system message) and end with a user message")
        return self


class UploadBody(RequestBody):
    """Announces a file."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"bytes": 48213}]})

    bytes: Annotated[int, Field(ge=1)]
    """The exact size; it is part of the URL's signature."""


class UploadParts(RequestBody):
    """Completes a multipart upload."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"etags": ["9b2cf535f27731c9", "3f1a2b"]}]})

    etags: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=128)]], Field(max_length=10_000)]
    """The `ETag` response headers of the PUTs, in the order of the parts."""


class RotateBody(RequestBody):
    """How to rotate the webhook secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"keep_old_secret_active_for_24_hours": True}]})

    keep_old_secret_active_for_24_hours: bool = True
    """True: webhooks carry a second signature with the old secret for 24 hours. False: it stops signing at once."""


class TestEventBody(RequestBody):
    """Where to send a test event."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://example.com/hook", "event_type": "job.completed"}]}
    )

    url: HttpUrl
    """Receives the test event as a POST."""
    event_type: TerminalEvent = "job.completed"
    """Type of the test event."""
