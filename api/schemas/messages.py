"""The messages of a job: text, images, videos and documents."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from api.schemas.base import RequestBody
from api.schemas.checks.urls import UPLOAD, FileData, FileId, MediaUrl
from jobs.model.page_ranges import PAGES, PageSelection


def _check_pages(text: str) -> str:
    PageSelection.parse(text)
    return text


Pages = Annotated[
    str, StringConstraints(max_length=512), AfterValidator(_check_pages), Field(json_schema_extra={"pattern": PAGES})
]


def _as_parts(content: Any) -> Any:
    """Convert a plain string to one text part, as OpenAI's API does."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


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
    """An image: PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC or AVIF; of several frames or pages the first."""

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
    file_data: FileData | None = None
    """The file in base64, plain or as a `data:` URL."""
    file_id: FileId | None = None
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
    def source_field(self) -> str:
        """The name of the field that has the source."""
        return "file_id" if self.file_id else "file_data" if self.file_data else "file_url"

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
    content: Annotated[list[Part], FailFast(), Field(min_length=1, max_length=256), BeforeValidator(_as_parts)]
    """A string, or a list of parts. Only `user` messages may contain media."""

    @model_validator(mode="after")
    def _check_media_are_in_user_messages(self) -> Self:
        if self.role != "user" and any(not isinstance(part, TextPart) for part in self.content):
            raise ValueError(f"a {self.role} message takes text only; move its media to a user message")
        return self
