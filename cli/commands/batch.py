"""``thinkqueue batch``: thousands of prompts from a file, results into a file; stopped at any point, it goes on.

A line's Idempotency-Key is made of its content, its place and its files, so whoever sends it again meets the same job.
Results are appended one whole line at a time: what stands in the file is done, everything else is asked for again.
"""

import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.client.batch_input import Line, read_lines
from cli.client.batch_output import Done, open_results
from cli.client.client import MAY_PASS, Client, Refused, Url
from cli.client.request_body import read_files, user_turn
from cli.errors import CommandError, Unreachable
from cli.local.state import DEFAULT_STATE, State
from cli.terminal import failed, tell, told

app = typer.Typer()

WAIT_S = 30
"""Of the POST itself: most jobs need no second call."""
POLL_FIRST_S, POLL_MOST_S = 2.0, 15.0
PATIENCE_MINUTES = 15.0
PAUSE_S = 5.0
"""Between two tries at a service that is full or away; the client has made a few of its own before."""
LABEL = "batch_line"
"""Metadata by which a line's job is found again."""
OWN = ("custom_id", "prompt", "files")
"""Fields of a line that the service does not know."""


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
    patience: Annotated[
        float, typer.Option(min=0, help="Minutes to wait while the service is full or away.")
    ] = PATIENCE_MINUTES,
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
            undone = [line for line in lines if line.key not in known]
            work = Work(client, undone, prompts.parent, timeout_s=60 * patience)
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


class Work:
    """Lines to ask for, and the threads that do. They are daemons: leaving the program does not wait for them.

    Args:
        timeout_s: how long a service that is full or away is waited for, since it was last reached.
    """

    def __init__(self, client: Client, lines: list[Line], folder: Path, *, timeout_s: float) -> None:
        self.left = len(lines)
        self.done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self.waits_for = ""
        """What the service said last, while it is waited for."""
        self._client = client
        self._folder = folder
        self._patience_s = timeout_s
        self._reached_at = time.monotonic()
        self._was_reached = False
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
            while done.waits_for and time.monotonic() - self._reached_at < self._patience_s:
                self.waits_for = done.waits_for
                time.sleep(PAUSE_S)
                done = self._ask(line)
            self.done.put(done)
            if done.stop:
                return

    def _ask(self, line: Line) -> Done:
        try:
            job = self._reached(self._earlier(line) or self._submitted(line))
            pause = POLL_FIRST_S
            while job["ended_at"] is None:
                time.sleep(pause)
                pause = min(pause * 1.5, POLL_MOST_S)
                job = self._reached(self._client.job(job["id"]))
        except Refused as refusal:
            if refusal.status in MAY_PASS:
                return Done(line, stop=str(refusal), waits_for=refusal.code)
            if refusal.status in (401, 403) or refusal.status >= 500:
                return Done(line, stop=str(refusal))
            return Done(line, error={"code": refusal.code, "message": str(refusal)})
        except Unreachable as error:
            # One that was never there may have another address.
            return Done(line, stop=str(error), waits_for="no answer" if self._was_reached else "")
        except CommandError as error:
            return Done(line, stop=str(error))
        except Exception as error:  # noqa: BLE001 - a thread that dies in silence would leave its line for ever
            return Done(line, stop=f"line {line.number}: {type(error).__name__}: {error}")
        return Done(line, job=job)

    def _reached(self, job: dict[str, Any]) -> dict[str, Any]:
        self._reached_at, self._was_reached, self.waits_for = time.monotonic(), True, ""
        return job

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
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[bad]} bad{task.fields[waits]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=tell) as progress:
        bad = len(known) - counts.completed
        task = progress.add_task("", total=total, completed=len(known), bad=bad, waits="")
        try:
            while counts.left:
                waits = f", the service is waited for ({work.waits_for})" if work.waits_for else ""
                progress.update(task, waits=waits)
                try:
                    done = work.done.get(timeout=1)
                except queue.Empty:
                    continue
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
