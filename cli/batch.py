"""``thinkqueue batch``: thousands of prompts from a file, results into a file; stopped at any point, it goes on.

A line's Idempotency-Key is made of its content, its place and its files, so whoever sends it again meets the same job.
Results are appended one whole line at a time: what stands in the file is done, everything else is asked for again.
"""

import fcntl
import hashlib
import json
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.client import Client, Refused, Url
from cli.errors import CannotStart
from cli.question import INLINE_BYTES, is_link, read_files, user_turn
from cli.state import DEFAULT_STATE, State
from cli.terminal import failed, tell, told

app = typer.Typer()

WAIT_S = 30
"""Of the POST itself: most jobs need no second call."""
POLL_FIRST_S, POLL_MOST_S = 2.0, 15.0
LABEL = "batch_line"
"""Metadata by which a line's job is found again."""
OWN = ("custom_id", "prompt", "files")
"""Fields of a line that the service does not know."""


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


@dataclass(frozen=True)
class Done:
    line: Line
    job: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    """It was refused and is no job."""
    stop: str = ""
    """Nothing can be done any more, for this reason; the line is to be asked for again."""

    def to_json(self) -> bytes:
        row = {"line": self.line.number, "custom_id": self.line.custom_id, "key": self.line.key}
        return json.dumps({**row, "job": self.job, "error": self.error}, ensure_ascii=False).encode() + b"\n"

    @property
    def is_good(self) -> bool:
        return self.job is not None and self.job["status"] == "completed"


@app.command()
def batch(
    prompts: Annotated[Path, typer.Argument(help="JSON lines: a job's body, or {prompt, files, custom_id, …}.")],
    url: Url = "",
    state: State = DEFAULT_STATE,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Else prompts.results.jsonl.")] = None,
    budget: Annotated[int | None, typer.Option(help="Thinking tokens of lines that name none.")] = None,
    max_answer: Annotated[int | None, typer.Option(help="Answer tokens of lines that name none.")] = None,
    priority: Annotated[str, typer.Option(help="high, default or low.")] = "low",
    in_flight: Annotated[int, typer.Option(min=1, max=512, help="Jobs on their way at once.")] = 32,
    run: Annotated[str, typer.Option(help="Another name asks for lines anew that have run lately.")] = "",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again for lines that went wrong.")] = False,
) -> None:
    """Run a file of prompts. Stop it as you like: the same command goes on, and makes nothing twice."""
    target = out or prompts.with_suffix(".results.jsonl")
    common: dict[str, Any] = {"priority": priority}
    if budget is not None:
        common["thinking"] = {"budget_tokens": budget}
    if max_answer is not None:
        common["max_answer_tokens"] = max_answer
    with told():
        lines = read_lines(prompts, common, run)
        client = Client(url, state=state, connections=in_flight + 4)
        with open_results(target, {line.key for line in lines}, retry_failed=retry_failed) as (file, known):
            work = Work(client, [line for line in lines if line.key not in known], prompts.parent)
            if known:
                tell.print(f"{len(known):,} of {len(lines):,} lines are done already", style="dim")
            counts = collect(work, file, total=len(lines), known=known, in_flight=in_flight)
    bad = len(lines) - counts.completed - counts.left
    report = f"{counts.completed:,} completed, {bad:,} not, {counts.left:,} left; results: {target}"
    if counts.left:
        tell.print(f"{report}\n{counts.stop or 'stopped'}. The same command goes on.", markup=False)
        raise typer.Exit(130 if not counts.stop else 1)
    if bad:
        raise failed(f"{report}. See `error` in them; --retry-failed asks for those lines again.")
    tell.print(report, style="green", markup=False)


def read_lines(path: Path, common: dict[str, Any], run: str) -> list[Line]:
    """Raises CannotStart, naming the line."""
    try:
        texts = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStart(f"{path} cannot be read: {error}") from error
    lines = []
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise CannotStart(f"{path}:{number} is not JSON: {error}") from error
        if not isinstance(fields, dict) or ("prompt" in fields) == ("messages" in fields):
            raise CannotStart(f"{path}:{number} must be an object with either `prompt` or `messages`.")
        if not all(isinstance(name, str) for name in fields.get("files") or []):
            raise CannotStart(f"{path}:{number}: files must be a list of paths and links.")
        stamps = _stamps(fields.get("files") or [], path.parent, f"{path}:{number}")
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
                raise CannotStart(f"{where}: {name} cannot be read: {error.strerror}") from error
            stamps.append((stat.st_size, stat.st_mtime_ns))
    return stamps


@contextmanager
def open_results(path: Path, keys: set[str], *, retry_failed: bool) -> Iterator[tuple[BinaryIO, dict[str, bool]]]:
    """For this process alone, with the keys that are done, and whether well. Raises CannotStart."""
    with _locked(path) as file:
        # A kill leaves half a row at the end.
        rows = [row for row in file.read().splitlines(keepends=True) if row.endswith(b"\n")]
        if rows and not _outcome(rows[0])[0]:
            raise CannotStart(f"{path} is there already, and is no file of results; choose another --out.")
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
        raise CannotStart(f"{path} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"another batch writes {path}.") from None
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


class Work:
    """Lines to ask for, and the threads that do. They are daemons: leaving the program does not wait for them."""

    def __init__(self, client: Client, lines: list[Line], folder: Path) -> None:
        self.left = len(lines)
        self.done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._client = client
        self._folder = folder
        self._lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
        for line in lines:
            self._lines.put(line)

    def start(self, threads: int) -> None:
        for _ in range(min(threads, self.left)):
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                return
            done = self._ask(line)
            self.done.put(done)
            if done.stop:
                return

    def _ask(self, line: Line) -> Done:
        try:
            job = self._earlier(line) or self._submitted(line)
            pause = POLL_FIRST_S
            while job["ended_at"] is None:
                time.sleep(pause)
                pause = min(pause * 1.5, POLL_MOST_S)
                job = self._client.job(job["id"])
        except Refused as refusal:
            if refusal.status in (401, 403, 429) or refusal.status >= 500:
                return Done(line, stop=str(refusal))
            return Done(line, error={"code": refusal.code, "message": str(refusal)})
        except CannotStart as error:
            return Done(line, stop=str(error))
        except Exception as error:  # noqa: BLE001 - a thread that dies in silence would leave its line for ever
            return Done(line, stop=f"line {line.number}: {type(error).__name__}: {error}")
        return Done(line, job=job)

    def _earlier(self, line: Line) -> dict[str, Any] | None:
        """The job of a line whose files are sent as uploads: sent again they would make another body."""
        if not line.uploads:
            return None
        found = self._client.jobs(**{f"metadata[{LABEL}]": line.key}, limit=1)["data"]
        return self._client.job(found[0]["id"]) if found else None

    def _submitted(self, line: Line) -> dict[str, Any]:
        body = {name: value for name, value in line.fields.items() if name not in OWN}
        if "prompt" in line.fields:
            media = read_files(line.fields.get("files") or [], self._client.upload, folder=self._folder)
            body["messages"] = [user_turn(line.fields["prompt"], media)]
        if line.uploads:
            body["metadata"] = {**(body.get("metadata") or {}), LABEL: line.key}
        return self._client.submit(body, idempotency_key=line.key, wait_s=WAIT_S)


@dataclass
class Counts:
    completed: int
    left: int
    stop: str = ""


def collect(work: Work, file: BinaryIO, *, total: int, known: dict[str, bool], in_flight: int) -> Counts:
    """Write results as they come, until none is left, Ctrl-C, or nothing can be done any more."""
    counts = Counts(sum(known.values()), work.left)
    work.start(in_flight)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[bad]} bad"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=tell) as progress:
        bad = len(known) - counts.completed
        task = progress.add_task("", total=total, completed=len(known), bad=bad)
        try:
            while counts.left:
                done = work.done.get()
                if done.stop:
                    counts.stop = done.stop
                    break
                file.write(done.to_json())
                file.flush()
                counts.left -= 1
                counts.completed += done.is_good
                bad += not done.is_good
                progress.update(task, advance=1, bad=bad)
        except KeyboardInterrupt:
            tell.print("stopping; what was asked for goes on there", style="dim")
    return counts
