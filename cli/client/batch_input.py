"""A file of prompts: one job a line, each with a key of its own."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.client.request_body import INLINE_BYTES, is_link
from cli.errors import CommandError


@dataclass(frozen=True)
class Line:
    number: int
    """From 1."""
    fields: dict[str, Any]
    key: str
    uploads: bool
    """Its files are too large to stand in the body."""

    @property
    def custom_id(self) -> str | None:
        return self.fields.get("custom_id")


def read_lines(path: Path, common: dict[str, Any], run: str) -> list[Line]:
    """Raises CommandError, naming the line."""
    try:
        texts = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    lines = []
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise CommandError(f"{path}:{number} is not JSON: {error}") from error
        if not isinstance(fields, dict) or ("prompt" in fields) == ("messages" in fields):
            raise CommandError(f"{path}:{number} must be an object with either `prompt` or `messages`.")
        files = fields.get("files") or []
        if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
            raise CommandError(f"{path}:{number}: files must be a list of paths and links.")
        stamps = _stamps(files, path.parent, f"{path}:{number}")
        fields = {**common, **fields}
        # A changed file makes another job, so its size and time count.
        content = json.dumps([run, number, fields, stamps], sort_keys=True, ensure_ascii=False)
        key = f"batch-{hashlib.sha256(content.encode()).hexdigest()[:48]}"
        lines.append(Line(number, fields, key, uploads=sum(size for size, _ in stamps) > INLINE_BYTES))
    return lines


def _stamps(names: list[str], folder: Path, where: str) -> list[tuple[int, int]]:
    stamps = []
    for name in names:
        if not is_link(name):
            try:
                stat = (folder / Path(name).expanduser()).stat()
            except OSError as error:
                raise CommandError(f"{where}: {name} cannot be read: {error.strerror}") from error
            stamps.append((stat.st_size, stat.st_mtime_ns))
    return stamps
