"""The bodies that clients send. Only fields that are honoured exist; all others are refused by name."""

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
from api.schemas.urls import UPLOAD, MediaUrl, WebUrl
from jobs.model.page_ranges import PAGES, PageSelection

WEEK_S = 7 * 24 * 3600
MAX_SEED = 2**53 - 1
"""The largest whole number that every JSON parser keeps."""

TerminalEvent = Literal["job.completed", "job.failed", "job.cancelled", "job.expired"]


def _pages(text: str) -> str:
    PageSelection.parse(text)
    return text


Pages = Annotated[
    str, StringConstraints(max_length=512), AfterValidator(_pages), Field(json_schema_extra={"pattern": PAGES})
]


def _listed(content: Any) -> Any:
    """A plain string is one text part, as in OpenAI's API."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(Body):
    type: Literal["text"]
    text: Annotated[str, StringConstraints(min_length=1)]


class ImageUrl(Body):
    url: MediaUrl
    detail: Literal["auto", "low", "high"] = "auto"
    """``low``: few tokens, for pictures without small things; the others: all that the model takes."""
    max_pixels: Annotated[int, Field(ge=1)] | None = None
    """Larger pictures are scaled down to it; goes before ``detail``. The model's own bounds hold in any case."""


class ImagePart(Body):
    type: Literal["image_url"]
    image_url: ImageUrl


class VideoUrl(Body):
    url: MediaUrl
    max_frames: Annotated[int, Field(ge=2)] | None = None
    """Of more, so many are looked at, spread evenly; always an even number."""
    max_pixels: Annotated[int, Field(ge=1)] | None = None
    """Of all frames together; larger ones are scaled down. The model's own bounds hold in any case."""


class VideoPart(Body):
    type: Literal["video_url"]
    video_url: VideoUrl


class FileSource(Body):
    """A PDF or a presentation; its pages come as pictures. Exactly one of ``file_url``, ``file_data``, ``file_id``."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [name]} for name in ("file_url", "file_data", "file_id")]}
    )

    file_url: MediaUrl | None = None
    file_data: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Base64, bare or as a ``data:`` URL."""
    file_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Of an upload (see ``POST /v1/uploads``)."""
    filename: Annotated[str, StringConstraints(max_length=255)] | None = None
    """For your own use: what a file is, its content tells."""
    pages: Pages | None = None
    """Such as ``1-5,9``; else all."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if sum(source is not None for source in (self.file_url, self.file_data, self.file_id)) != 1:
            raise ValueError("needs exactly one of file_url, file_data and file_id")
        return self

    @property
    def url(self) -> str:
        """The source in the form of all media."""
        if self.file_id is not None:
            return UPLOAD + self.file_id
        if self.file_data is not None:
            return self.file_data if self.file_data[:5].lower() == "data:" else f"data:;base64,{self.file_data}"
        return self.file_url or ""


class FilePart(Body):
    type: Literal["file"]
    file: FileSource


def _part_tag(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    # In angle brackets, so that api/errors/handlers.py can tell a tag from a field in an error's location.
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


def _or_text(schema: dict[str, Any]) -> None:
    schema["properties"]["content"] = {"anyOf": [{"type": "string", "minLength": 1}, schema["properties"]["content"]]}


class Message(Body):
    model_config = ConfigDict(json_schema_extra=_or_text)

    role: Literal["system", "user", "assistant"]
    """An assistant turn is an earlier answer; thinking in it is left out."""
    content: Annotated[list[Part], BeforeValidator(_listed), Field(min_length=1, max_length=256)]

    @model_validator(mode="after")
    def _media_are_the_users(self) -> Self:
        if self.role != "user" and any(not isinstance(part, TextPart) for part in self.content):
            raise ValueError(f"a message of the {self.role} takes text only; move its media to a user message")
        return self


class Thinking(Body):
    budget_tokens: Annotated[int, Field(ge=-1)]
    """-1: no budget. 0: answer at once. N: thinking is closed at N tokens."""


class Sampling(Body):
    """What is left out is taken from the model's own generation config."""

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    """0: the most likely token, always."""
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000)] | None = None
    """0: no limit."""
    repetition_penalty: Annotated[float, Field(ge=0.5, le=2, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None


class CallbackBody(Body):
    url: WebUrl
    events: Annotated[
        list[TerminalEvent],
        Field(
            min_length=1,
            default_factory=lambda: ["job.completed", "job.failed", "job.cancelled", "job.expired"],
        ),
    ]


MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class JobBody(Body):
    """One job: a prompt with its pictures, and how to think about it."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.JOB_BODY]})

    messages: Annotated[list[Message], Field(min_length=1, max_length=256)]
    previous_job_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Go on behind the answer of a completed job of yours: its turns and media come first, without being sent again."""
    thinking: Thinking | None = None
    max_answer_tokens: Annotated[int, Field(ge=1)] | None = None
    sampling: Sampling = Sampling()
    priority: Literal["high", "default", "low"] = "default"
    """They share the workers 8:4:1. ``high`` is a right of the API key."""
    expires_in: Annotated[int, Field(ge=1, le=WEEK_S)] | None = None
    """Seconds within which a worker must have started it; else it ends as ``expired``."""
    max_run_seconds: Annotated[int, Field(ge=1, le=24 * 3600)] | None = None
    """From its start on a GPU worker; then it fails with ``run_time_exceeded`` and keeps what it has."""
    retention_seconds: Annotated[int, Field(ge=60)] | None = None
    """How long it is kept behind its end; at most, and by default, as long as the service keeps jobs."""
    box_tokens: Literal["strip", "keep"] = "strip"
    """The model's special_tokens round boxes and values in the answer. ``output.raw`` has them in any case."""
    callback: CallbackBody | None = None
    result_urls: Annotated[list[WebUrl], Field(max_length=4, default_factory=list)]
    """Presigned links of yours that the result is PUT to, too, as JSON whose SHA-256 is ``result_sha256``."""
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16, default_factory=dict)]

    @model_validator(mode="after")
    def _turns_lead_to_an_answer(self) -> Self:
        roles = [message.role for message in self.messages]
        turns = roles[1:] if roles[0] == "system" else roles
        if "system" in turns:
            raise ValueError("messages may have one system message, as the first")
        if not turns or turns[0] != "user" or turns[-1] != "user":
            raise ValueError("messages must begin (behind a system message) and end with a message of the user")
        return self


class UploadBody(Body):
    """A file to come."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"bytes": 48213}]})

    bytes: Annotated[int, Field(ge=1)]
    """Its exact size, which becomes part of the link's signature."""


class UploadParts(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"etags": ["9b2cf535f27731c9", "3f1a2b"]}]})

    etags: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=128)]], Field(max_length=10_000)]
    """The ``ETag`` headers that the parts' PUTs were answered with, in the order of the parts."""


class RotateBody(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"keep_old_secret_active_for_24_hours": True}]})

    keep_old_secret_active_for_24_hours: bool = True


class TestEventBody(Body):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://example.com/hook", "event_type": "job.completed"}]}
    )

    url: WebUrl
    event_type: TerminalEvent = "job.completed"
