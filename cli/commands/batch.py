"""``thinkqueue batch``: runs thousands of prompts from a file, and resumes after an interruption at any point.

A line's idempotency key is a hash of its content and files, so submitting it again returns the same job, wherever the
line is in the file.
Results are appended one whole row at a time: a line with a row is done, every other line is submitted again.
"""

import queue
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.client.batch_input import read_lines
from cli.client.batch_output import open_output
from cli.client.batch_runner import BatchRunner
from cli.commands.options import DEFAULT_STATE, State, Url, api_client
from cli.terminal import exit_with_error, report_errors, stderr

app = typer.Typer()

MAX_WAIT_MINUTES = 15.0


@app.command()
def batch(
    prompts: Annotated[Path, typer.Argument(help="JSON Lines: a job's body, or {prompt, files, custom_id, …}.")],
    url: Url = "",
    state: State = DEFAULT_STATE,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Output file. Default: prompts.results.jsonl.")
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Thinking tokens of lines that set none.")] = None,
    max_answer: Annotated[int | None, typer.Option(help="Maximum answer tokens of lines that set none.")] = None,
    priority: Annotated[str, typer.Option(help="high, default or low.")] = "low",
    in_flight: Annotated[int, typer.Option(min=1, max=512, help="Jobs in flight at once.")] = 32,
    run: Annotated[str, typer.Option(help="A name for this run; a new name submits all lines again.")] = "",
    max_wait: Annotated[
        float, typer.Option(min=0, help="Minutes to wait for a service that is full or unreachable, also at the start.")
    ] = MAX_WAIT_MINUTES,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Submit lines again that failed.")] = False,
) -> None:
    """Run a file of prompts. Re-run the same command to resume; no job is submitted twice."""
    target = out or prompts.with_suffix(".results.jsonl")
    defaults: dict[str, Any] = {"priority": priority}
    if budget is not None:
        defaults["thinking"] = {"budget_tokens": budget}
    if max_answer is not None:
        defaults["max_answer_tokens"] = max_answer
    with report_errors():
        lines = read_lines(prompts, defaults, run)
        client = api_client(url, state, connections=in_flight + 4)
        with open_output(target, {line.key for line in lines}, retry_failed=retry_failed) as output:
            known = output.known
            runner = BatchRunner(client, output.remaining(lines), prompts.parent, timeout_s=60 * max_wait)
            if known:
                stderr.print(f"{len(known):,} of {len(lines):,} lines are done already", style="dim")
            counts = write_results(runner, output.file, total=len(lines), known=known, in_flight=in_flight)
    failed = len(lines) - counts.completed - counts.left
    report = f"{counts.completed:,} completed, {failed:,} failed, {counts.left:,} left; results: {target}"
    if counts.left:
        stderr.print(f"{report}\n{counts.abort_reason or 'stopped'}. Run the same command to resume.", markup=False)
        raise typer.Exit(1 if counts.abort_reason else 130)
    if failed:
        raise exit_with_error(f"{report}. See `error` and `job` in the rows; --retry-failed submits them again.")
    stderr.print(report, style="green", markup=False)


@dataclass
class Counts:
    completed: int
    left: int
    abort_reason: str = ""


def write_results(runner: BatchRunner, file: BinaryIO, *, total: int, known: dict[str, bool], in_flight: int) -> Counts:
    """Write results as they arrive, until no line is left, Ctrl-C, or an error that ends the batch."""
    counts = Counts(sum(known.values()), runner.num_lines)
    runner.start(in_flight)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]} failed{task.fields[waiting]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=stderr) as progress:
        failed, printed = len(known) - counts.completed, ""
        task = progress.add_task("", total=total, completed=len(known), failed=failed, waiting="")
        try:
            while counts.left:
                waiting = f", waiting for the service ({runner.waiting_for})" if runner.waiting_for else ""
                progress.update(task, waiting=waiting)
                if waiting != printed and not stderr.is_terminal:
                    printed = waiting  # a terminal shows it in the progress bar
                    stderr.print(waiting.removeprefix(", ") or "the service answers again", markup=False)
                try:
                    result = runner.results.get(timeout=1)
                except queue.Empty:
                    continue
                if result.abort_reason:
                    counts.abort_reason = result.abort_reason
                    break
                file.write(result.to_json())
                file.flush()
                counts.left -= 1
                counts.completed += result.is_completed
                failed += not result.is_completed
                progress.update(task, advance=1, failed=failed)
        except KeyboardInterrupt:
            stderr.print("stopping; jobs that were submitted continue", style="dim")
    return counts
