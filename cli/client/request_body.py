"""Builds messages from files, URLs and a question."""

import base64
import mimetypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.errors import CommandError

INLINE_BYTES = 8 * 2**20
"""Of all files together; larger files are uploaded. A body may have 32 MiB, and base64 adds a third."""

DOCUMENTS = {".pdf", ".pptx", ".ppt", ".odp"}
VIDEOS = {".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v"}


def is_link(name: str) -> bool:
    return urlsplit(name).scheme in ("http", "https", "data", "upload")


def read_files(names: Sequence[str], upload: Callable[[Path], str], *, folder: Path | None = None) -> dict[str, str]:
    """Return the URL of each file, as a job's body can contain it; uploads large files.

    Args:
        names: paths and URLs.
        upload: uploads a file and returns its URL.
        folder: the base of relative paths.

    Raises:
        CommandError: a file cannot be read.
    """
    files = {name: (folder or Path()) / Path(name).expanduser() for name in names if not is_link(name)}
    try:
        sizes = {name: path.stat().st_size for name, path in files.items()}
        inline = sum(sizes.values()) <= INLINE_BYTES
        urls = {name: data_url(path) if inline else upload(path) for name, path in files.items()}
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return {name: urls.get(name, name) for name in names}


def data_url(path: Path) -> str:
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"


def media_part(name: str, url: str) -> dict[str, Any]:
    """Return the content part of one file. The type is chosen by its name; the service checks the content."""
    if url.startswith("data:") and is_link(name):
        suffix = "." + name.partition(";")[0].rpartition("/")[2]
    else:
        suffix = Path(urlsplit(name).path).suffix
    if suffix.lower() in DOCUMENTS:
        if url.startswith("upload:"):
            return {"type": "file", "file": {"file_id": url.removeprefix("upload:")}}
        return {"type": "file", "file": {"file_data" if url.startswith("data:") else "file_url": url}}
    if suffix.lower() in VIDEOS:
        return {"type": "video_url", "video_url": {"url": url}}
    return {"type": "image_url", "image_url": {"url": url}}


def user_message(question: str, media: dict[str, str]) -> dict[str, Any]:
    """Return a user message: media first, as in the models' training, then the question."""
    parts = [media_part(name, url) for name, url in media.items()]
    return {"role": "user", "content": [*parts, {"type": "text", "text": question}]}
