"""A batch's file of results: a row for each line that is done, appended whole."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cli.client.batch_input import Line
from cli.errors import CommandError


@dataclass(frozen=True)
class Done:
    line: Line
    job: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    """It was refused and is no job."""
    stop: str = ""
    """Nothing could be done, for this reason; the line is to be asked for again."""
    waits_for: str = ""
    """What stopped it may pass: a server that is away, a limit that was reached."""

    def to_json(self) -> bytes:
        row = {"line": self.line.number, "custom_id": self.line.custom_id, "key": self.line.key}
        return json.dumps({**row, "job": self.job, "error": self.error}, ensure_ascii=False).encode() + b"\n"

    @property
    def is_good(self) -> bool:
        return self.job is not None and self.job["status"] == "completed"


@contextmanager
def open_results(path: Path, keys: set[str], *, retry_failed: bool) -> Iterator[tuple[BinaryIO, dict[str, bool]]]:
    """For this process alone, with the keys that are done, and whether well. Raises CommandError."""
    with _locked(path) as file:
        # A kill leaves half a row at the end.
        rows = [row for row in file.read().splitlines(keepends=True) if row.endswith(b"\n")]
        if rows and not _outcome(rows[0])[0]:
            raise CommandError(f"{path} is there already, and is no file of results; choose another --out.")
        known = {key: good for key, good in map(_outcome, rows) if key in keys and (good or not retry_failed)}
        kept = b"".join(row for row in rows if _outcome(row)[0] in known or _outcome(row)[0] not in keys)
        if kept == b"".join(rows):
            file.truncate(len(kept))
            yield file, known
            return
        draft = path.with_name(path.name + ".part")
        draft.write_bytes(kept)
        draft.replace(path)
        with _locked(path) as renewed:
            yield renewed, known


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("a+b")
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"another batch writes {path}.") from None
        file.seek(0)
        yield file


def _outcome(row: bytes) -> tuple[str, bool]:
    """Key and success of a row; of one that is not ours, an empty key."""
    try:
        result = json.loads(row)
        job = result["job"]
        return str(result["key"]), job is not None and job["status"] == "completed"
    except (ValueError, KeyError, TypeError):
        return "", False
