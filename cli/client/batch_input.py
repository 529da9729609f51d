"""Reads a batch's input file: JSON Lines, one job a line.

A line is identified by its content, ``custom_id`` included, and not by its position: lines may be inserted, removed and
sorted between two runs.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.client.request_body import INLINE_BYTES, is_link
from cli.errors import CommandError


@dataclass(frozen=True)
class InputLine:
    number: int
    """From 1."""
    fields: dict[str, Any]
    key: str
    """Identifies the line in the results: a hash of its content and files, and of how many equal lines come before."""
    idempotency_key: str
    """Of its job: the same as ``key``, unless an earlier job of the line failed and the line is submitted again."""
    needs_uploads: bool
    """Its files are too large to be sent in the body."""

    @property
    def custom_id(self) -> str | None:
        return self.fields.get("custom_id")


def read_lines(path: Path, defaults: dict[str, Any], run: str) -> list[InputLine]:
    """Read a file of jobs.

    Args:
        defaults: fields of every line that does not set them.
        run: part of every idempotency key.

    Raises:
        CommandError: a line is wrong or one of its files cannot be read; names the line.
    """
    try:
        texts = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    reader = _FileReader(path.parent)
    lines: list[InputLine] = []
    equal_lines: Counter[str] = Counter()
    numbers: dict[str, int] = {}
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
            raise CommandError(f"{path}:{number}: files must be a list of paths and URLs.")
        found = [reader.read(name, f"{path}:{number}") for name in files if not is_link(name)]
        fields = {**defaults, **fields}
        # A changed file makes another job. Its modification time says nothing: a copy or a checkout has another one.
        hashes = [file.sha256 for file in found]
        content = json.dumps([run, fields, hashes], sort_keys=True, ensure_ascii=False)
        key = line_key(content, equal_lines[content])
        equal_lines[content] += 1
        _check_custom_id(fields, number, numbers, path)
        lines.append(InputLine(number, fields, key, key, needs_uploads=sum(file.size for file in found) > INLINE_BYTES))
    return lines


def line_key(content: str, number: int) -> str:
    """Return a key for the ``number``-th (from 0) of several equal lines, or attempts at one line."""
    return f"batch-{hashlib.sha256(f'{content}{number or str()}'.encode()).hexdigest()[:48]}"


def _check_custom_id(fields: dict[str, Any], number: int, numbers: dict[str, int], path: Path) -> None:
    """Check that a ``custom_id`` is used once; ``numbers`` has the lines of those before."""
    custom_id = fields.get("custom_id")
    if custom_id is None:
        return
    if not isinstance(custom_id, str):
        raise CommandError(f"{path}:{number}: custom_id must be a string.")
    if custom_id in numbers:
        raise CommandError(
            f"{path}:{number}: custom_id {custom_id!r} is that of line {numbers[custom_id]}; each line needs its own."
        )
    numbers[custom_id] = number


@dataclass(frozen=True)
class _File:
    size: int
    sha256: str


class _FileReader:
    """Reads the files that lines name, each once: thousands of lines may ask about the same one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _File] = {}

    def read(self, name: str, line: str) -> _File:
        """Return size and hash of a file. Raises CommandError."""
        if name not in self._files:
            try:
                with (self._folder / Path(name).expanduser()).open("rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                    self._files[name] = _File(file.tell(), sha256)
            except OSError as error:
                raise CommandError(f"{line}: {name} cannot be read: {error.strerror}") from error
        return self._files[name]
