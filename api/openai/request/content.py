"""Turns the content parts of both surfaces into native parts."""

from collections.abc import Sequence
from typing import Any

from api.errors.pointers import Step
from api.errors.wording import quoted
from api.openai.request.fields import UNSUPPORTED, invalid
from api.schemas.checks.urls import UPLOAD
from jobs.errors import Invalid, Problem

NativePart = dict[str, Any]
TEXT_TYPES = ("text", "input_text", "output_text", "refusal")
SKIPPED_TYPES = ("thinking", "reasoning", "reasoning_text", "redacted_thinking", "summary_text")
"""Earlier thinking: the model does not see it again."""
AUDIO_TYPES = ("input_audio", "audio", "output_audio")
DETAILS = {"auto": "auto", "low": "low", "high": "high", "original": "high"}
FILE_SOURCES = ("file_id", "file_data", "file_url")
VIDEO_ENDINGS = (".mp4", ".mov", ".webm", ".mkv", ".avi")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff", ".heic", ".avif")


def native_part(part: Any, at: Sequence[Step]) -> NativePart | None:
    """Return a content part in native form; None if the model does not see it.

    Unknown keys in a part are ignored: clients send back what they received.

    Args:
        at: where the part is in the body.

    Raises:
        Invalid: it has no valid form, or a type that is not supported.
    """
    if isinstance(part, str):
        return _text(part)
    if not isinstance(part, dict):
        raise invalid(at, f'must be an object such as {{"type": "text", "text": "…"}}, not {quoted(part)}')
    kind = part.get("type")
    if kind in TEXT_TYPES:
        return _text(_string(part, "refusal" if kind == "refusal" else "text", at))
    if kind in ("image_url", "input_image"):
        return _image(part, at)
    if kind in ("video_url", "input_video"):
        return _video(part, at)
    if kind in ("file", "input_file"):
        return _file(part, at)
    if kind in SKIPPED_TYPES:
        return None
    if kind in AUDIO_TYPES:
        raise Invalid([Problem(_pointer(at), "is audio, which the model cannot process; remove it", UNSUPPORTED)])
    expected = "text, image_url, video_url or file (input_text, input_image or input_file in a response)"
    raise invalid((*at, "type"), f"must be {expected}, not {quoted(kind)}")


def upload_url(file_id: str) -> str:
    """Return the native URL of an uploaded file."""
    return file_id if file_id.startswith(UPLOAD) else UPLOAD + file_id


def file_id_steps(part: Any) -> tuple[Step, ...]:
    """Return where a content part of the client has its file id; nothing if it has none."""
    for steps in (("file_id",), ("file", "file_id")):
        holder = part.get("file") if len(steps) > 1 and isinstance(part, dict) else part
        if isinstance(holder, dict) and holder.get("file_id") is not None:
            return steps
    return ()


def _pointer(at: Sequence[Step]) -> str:
    return "".join(f"/{step}" for step in at)


def _text(text: str) -> NativePart | None:
    return {"type": "text", "text": text} if text else None


def _string(part: dict[str, Any], name: str, at: Sequence[Step]) -> str:
    value = part.get(name)
    if not isinstance(value, str):
        raise invalid((*at, name), f"must be a string, not {quoted(value)}")
    return value


def _source(part: dict[str, Any], name: str, at: Sequence[Step]) -> dict[str, Any]:
    """Return the object that has an image's or a video's URL; a string stands for an object with this URL."""
    source = part.get(name)
    if isinstance(source, str):
        return {"url": source, **{key: value for key, value in part.items() if key not in ("type", name)}}
    if source is None and isinstance(part.get("file_id"), str):
        return {**part, "url": upload_url(part["file_id"])}
    if isinstance(source, dict) and isinstance(source.get("url"), str):
        return source
    raise invalid((*at, name), f"must be a URL, or an object with a url, not {quoted(source)}")


def _image(part: dict[str, Any], at: Sequence[Step]) -> NativePart:
    source = _source(part, "image_url", at)
    image: dict[str, Any] = {"url": source["url"]}
    if (detail := source.get("detail")) is not None:
        if not isinstance(detail, str) or detail not in DETAILS:
            raise invalid((*at, "detail"), f"must be auto, low, high or original, not {quoted(detail)}")
        image["detail"] = DETAILS[detail]
    _copy(source, image, "max_pixels")
    return {"type": "image_url", "image_url": image}


def _video(part: dict[str, Any], at: Sequence[Step]) -> NativePart:
    name = "video_url" if part.get("video_url") is not None or part["type"] == "video_url" else "input_video"
    source = _source(part, name, at)
    video: dict[str, Any] = {"url": source["url"]}
    _copy(source, video, "max_pixels", "max_frames")
    return {"type": "video_url", "video_url": video}


def _file(part: dict[str, Any], at: Sequence[Step]) -> NativePart:
    """Return a document; an image or a video if the file is one by its media type or its name."""
    file = part.get("file", part)
    if not isinstance(file, dict):
        raise invalid((*at, "file"), f"must be an object with file_data, file_id or file_url, not {quoted(file)}")
    sources = {name: file[name] for name in FILE_SOURCES if file.get(name) is not None}
    if len(sources) != 1 or not all(isinstance(value, str) for value in sources.values()):
        raise invalid(at, "must have exactly one of file_data, file_id and file_url, as a string")
    ((name, value),) = sources.items()
    url = upload_url(value) if name == "file_id" else value
    kind = _kind(url, file.get("filename"))
    if kind == "video":
        video: dict[str, Any] = {"url": _with_header(url, name, "video/mp4")}
        _copy(file, video, "max_pixels", "max_frames")
        return {"type": "video_url", "video_url": video}
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": _with_header(url, name, "image/png")}}
    document = {name: value.removeprefix(UPLOAD) if name == "file_id" else value}
    _copy(file, document, "pages")
    return {"type": "file", "file": document}


def _kind(url: str, filename: Any) -> str:
    start = url[:12].lower()
    if start.startswith(("data:video/", "data:image/")):
        return start[5:10]
    ending = (filename if isinstance(filename, str) else url.partition("?")[0][-8:]).lower()
    if ending.endswith(VIDEO_ENDINGS):
        return "video"
    return "image" if ending.endswith(IMAGE_ENDINGS) else "document"


def _with_header(url: str, source: str, media_type: str) -> str:
    """Return plain base64 as a ``data:`` URL. The type of a file is detected from its content."""
    return f"data:{media_type};base64,{url}" if source == "file_data" and url[:5].lower() != "data:" else url


def _copy(source: dict[str, Any], target: dict[str, Any], *names: str) -> None:
    target.update({name: source[name] for name in names if source.get(name) is not None})
