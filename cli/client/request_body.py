"""A job's body out of what stands on a command line: files, links and a question."""

import base64
import mimetypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.errors import CommandError

INLINE_BYTES = 8 * 2**20
"""Of all files together; more goes up as uploads. Bodies may have 32 MiB, and base64 makes files a third larger."""

DOCUMENTS = {".pdf", ".pptx", ".ppt", ".odp"}
VIDEOS = {".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v"}


def is_link(name: str) -> bool:
    return urlsplit(name).scheme in ("http", "https", "data", "upload")


def read_files(names: Sequence[str], upload: Callable[[Path], str], *, folder: Path | None = None) -> dict[str, str]:
    """Each name with a URL that a job may carry.

    Args:
        upload: sends a large file, and returns its URL.
        folder: where relative names start.

    Raises:
        CommandError: a file cannot be read.
    """
    files = {name: (folder or Path()) / Path(name).expanduser() for name in names if not is_link(name)}
    try:
        sizes = {name: path.stat().st_size for name, path in files.items()}
        inline = sum(sizes.values()) <= INLINE_BYTES
        found = {name: data_url(path) if inline else upload(path) for name, path in files.items()}
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return {name: found.get(name, name) for name in names}


def data_url(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def media_part(name: str, url: str) -> dict[str, Any]:
    """What a medium is for the service; by its name here, by its content there."""
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


def user_turn(question: str, media: dict[str, str]) -> dict[str, Any]:
    """Media first, as the models were trained."""
    parts = [media_part(name, url) for name, url in media.items()]
    return {"role": "user", "content": [*parts, {"type": "text", "text": question}]}
