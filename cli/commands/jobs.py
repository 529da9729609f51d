"""``thinkqueue submit``, ``watch``, ``result``, ``cancel`` and ``jobs``: the caller's jobs."""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client.api_client import ApiClient
from cli.client.live import follow, summary
from cli.client.request_body import is_link, read_files, user_message
from cli.commands.options import DEFAULT_STATE, JsonLines, State, Url, api_client
from cli.errors import CommandError
from cli.terminal import new_table, print_table, printable, report_errors, stderr, write_json, write_stdout
from jobs.model.times import parse_time

app = typer.Typer()
PAGE = 100
"""Jobs; the most that the API lists at once."""
Json = Annotated[bool, typer.Option("--json", help="Print the whole job as JSON.")]
SaveMedia = Annotated[Path | None, typer.Option("--save-media", help="Folder to download the result's images to.")]


@app.command()
def submit(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[FILE|URL]... QUESTION", help="Media first, the question last; - reads it from stdin."),
    ],
    url: Url = "",
    state: State = DEFAULT_STATE,
    budget: Annotated[int | None, typer.Option(help="Thinking tokens. 0: no thinking; -1: no limit.")] = None,
    max_answer: Annotated[int | None, typer.Option(help="Maximum answer tokens.")] = None,
    max_total: Annotated[int | None, typer.Option(help="Maximum thinking and answer tokens together.")] = None,
    system: Annotated[str, typer.Option(help="System message.")] = "",
    previous_job: Annotated[
        str, typer.Option("--previous-job", help="Continue the conversation of one of your completed jobs.")
    ] = "",
    priority: Annotated[str, typer.Option(help="high, default or low.")] = "default",
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature. 0: greedy.")] = None,
    seed: Annotated[int | None, typer.Option(help="Sampling seed.")] = None,
    callback: Annotated[str, typer.Option(help="URL of a webhook for the job's end.")] = "",
    metadata: Annotated[list[str] | None, typer.Option(help="name=value; repeatable.")] = None,
    key: Annotated[str, typer.Option("--idempotency-key", help="Submitting again with this key returns the job.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job and print its answer.")] = False,
    save_media: SaveMedia = None,
    as_json: Json = False,
) -> None:
    """Submit a job: thinkqueue submit photo.jpg "What is on it?" --budget 2048 --wait"""
    with report_errors():
        client = api_client(url, state)
        *names, question = words
        if not is_link(question) and Path(question).is_file():
            raise CommandError(f'{question} is a file; the question comes last: submit {question} "What is on it?"')
        if question == "-":
            question = sys.stdin.read()
        messages = [{"role": "system", "content": system}] if system else []
        body: dict[str, Any] = {"messages": [*messages, user_message(question, read_files(names, client.upload))]}
        sampling = {"temperature": temperature, "seed": seed}
        options: dict[str, Any] = {
            "thinking": None if budget is None else {"budget_tokens": budget},
            "max_answer_tokens": max_answer,
            "max_total_tokens": max_total,
            "previous_job_id": previous_job or None,
            "priority": None if priority == "default" else priority,
            "sampling": {name: value for name, value in sampling.items() if value is not None} or None,
            "callback": {"url": callback} if callback else None,
            "metadata": _pairs(metadata or []) or None,
        }
        body |= {name: value for name, value in options.items() if value is not None}
        # A random key by default: a retry after a lost reply returns the same job.
        job = client.submit(body, idempotency_key=key or f"cli-{secrets.token_hex(16)}")
        if wait:
            raise typer.Exit(_watch(client, job["id"], save_media, as_json=as_json))
    if as_json:
        write_json(job, indent=2)
        return
    write_stdout(job["id"])
    if sys.stdout.isatty():
        stderr.print(f"{job['status']}; follow it with: thinkqueue watch {job['id']}", style="dim")


@app.command()
def watch(
    job_id: str, url: Url = "", state: State = DEFAULT_STATE, save_media: SaveMedia = None, as_json: Json = False
) -> None:
    """Follow a job until it ends, and print its answer."""
    with report_errors():
        raise typer.Exit(_watch(api_client(url, state), job_id, save_media, as_json=as_json))


@app.command()
def result(
    job_id: str, url: Url = "", state: State = DEFAULT_STATE, save_media: SaveMedia = None, as_json: Json = False
) -> None:
    """Print the answer of a job that has ended."""
    with report_errors():
        client = api_client(url, state)
        job = client.job(job_id)
        if job["ended_at"] is None:
            raise CommandError(f"{job_id} is {job['status']}; wait for it with: thinkqueue watch {job_id}")
        raise typer.Exit(_show(client, job, save_media, as_json=as_json))


@app.command()
def cancel(job_id: str, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """Cancel a job."""
    with report_errors():
        job = api_client(url, state).cancel(job_id)
    stderr.print(f"{job_id} is {job['status']}" + ("" if job["ended_at"] else "; it ends at its next token"))


@app.command()
def jobs(
    url: Url = "",
    state: State = DEFAULT_STATE,
    status: Annotated[list[str] | None, typer.Option(help="Such as running; repeatable.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="name=value; repeatable: all must match.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number of jobs.")] = 20,
    as_json: JsonLines = False,
) -> None:
    """List jobs, newest first."""
    query: dict[str, Any] = {"status": status or []}
    found: list[dict[str, Any]] = []
    with report_errors():
        query |= {f"metadata[{name}]": value for name, value in _pairs(metadata or []).items()}
        client = api_client(url, state)
        while len(found) < limit:
            page = client.jobs(**query, limit=min(PAGE, limit - len(found)))
            found += page["data"]
            if not page["has_more"]:
                break
            query["after"] = page["last_id"]
    if as_json:
        for job in found:
            write_json(job)
        return
    table = new_table("id", "status", "priority", "created", "tokens", "metadata")
    for job in found:
        pairs = " ".join(f"{name}={value}" for name, value in job["metadata"].items())
        created = parse_time(job["created_at"]).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(job["id"], job["status"], job["priority"], created, f"{job['tokens']:,}", printable(pairs))
    print_table(table)


def _watch(client: ApiClient, job_id: str, save_media: Path | None, *, as_json: bool) -> int:
    try:
        follow(job_id, client.events(job_id), stderr)
    except KeyboardInterrupt:
        stderr.print(f"stopped watching; the job continues. Watch it again: thinkqueue watch {job_id}", style="dim")
        return 130
    return _show(client, client.job(job_id), save_media, as_json=as_json)


def _show(client: ApiClient, job: dict[str, Any], save_media: Path | None, *, as_json: bool) -> int:
    """Print an ended job. Returns the exit status: 0 only for a completed job."""
    if as_json:
        write_json(job, indent=2)
    else:
        stderr.print(summary(job), style="dim" if job["status"] == "completed" else "red", markup=False)
        if job["output"]:
            write_stdout(job["output"]["answer"])
    if save_media:
        save_media.mkdir(parents=True, exist_ok=True)
        for item in job["media"]:
            path = save_media / Path(item["name"]).name
            client.download(item["url"], path)
            stderr.print(f"{item['kind']} {path}", style="dim", markup=False)
    return 0 if job["status"] == "completed" else 1


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for word, (name, sign, _) in zip(words, pairs, strict=True):
        if not (name and sign):
            raise CommandError(f"--metadata {word} must be name=value.")
    return {name: value for name, _, value in pairs}
