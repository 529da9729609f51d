"""A batch's output file: JSON Lines, one row for each input line that is done, appended as a whole."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from cli.client.batch_input import InputLine, line_key
from cli.errors import CommandError


@dataclass(frozen=True)
class LineResult:
    line: InputLine
    job: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    """The service refused the line; there is no job."""
    abort_reason: str = ""
    """Why the batch must stop. The line is not done."""
    retry_reason: str = ""
    """Set if what caused ``abort_reason`` may pass: the service is unreachable or full."""

    def to_json(self) -> bytes:
        row = {"line": self.line.number, "custom_id": self.line.custom_id, "key": self.line.key}
        return json.dumps({**row, "job": self.job, "error": self.error}, ensure_ascii=False).encode() + b"\n"

    @property
    def is_completed(self) -> bool:
        return self.job is not None and self.job["status"] == "completed"


@dataclass(frozen=True)
class BatchOutput:
    """The output file, and what it says about the input lines."""

    file: BinaryIO
    known: dict[str, bool]
    """For the key of each line that is done, whether its job completed."""
    failed_jobs: dict[str, str]
    """For the key of each line that is run again, the id of its last job, which did not complete."""

    def remaining(self, lines: list[InputLine]) -> list[InputLine]:
        """Return the lines that are not done. A line whose job failed has a new idempotency key."""
        return [self._again(line) for line in lines if line.key not in self.known]

    def _again(self, line: InputLine) -> InputLine:
        failed = self.failed_jobs.get(line.key)
        return replace(line, idempotency_key=line_key(f"{line.key}{failed}", 0)) if failed else line


@contextmanager
def open_output(path: Path, keys: set[str], *, retry_failed: bool) -> Iterator[BatchOutput]:
    """Lock the output file and yield it with the lines that are done.

    Args:
        keys: of all input lines.
        retry_failed: remove the rows of lines that did not complete.

    Raises:
        CommandError: the file cannot be written, is in use, or is not a batch's output.
    """
    with _locked(path) as file:
        # A killed process leaves an incomplete row at the end.
        rows = [row for row in file.read().splitlines(keepends=True) if row.endswith(b"\n")]
        if rows and not _parse(rows[0])[0]:
            raise CommandError(f"{path} exists and is not the output of a batch; choose another file with --out.")
        results = [_parse(row) for row in rows]
        known = {key: good for key, good, _ in results if key in keys and (good or not retry_failed)}
        failed = {key: job_id for key, good, job_id in results if not good and job_id and key not in known}
        kept = b"".join(row for row in rows if _parse(row)[0] in known or _parse(row)[0] not in keys)
        if kept == b"".join(rows):
            file.truncate(len(kept))
            yield BatchOutput(file, known, failed)
            return
        draft = path.with_name(path.name + ".part")
        draft.write_bytes(kept)
        draft.replace(path)
        with _locked(path) as replaced:
            yield BatchOutput(replaced, known, failed)


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
            raise CommandError(f"{path} is in use by another batch.") from None
        file.seek(0)
        yield file


def _parse(row: bytes) -> tuple[str, bool, str]:
    """Return the row's key, whether its job completed, and the job's id; an empty key for a row of another format."""
    try:
        result = json.loads(row)
        job = result["job"]
        return str(result["key"]), job is not None and job["status"] == "completed", str(job["id"]) if job else ""
    except (ValueError, KeyError, TypeError):
        return "", False, ""
