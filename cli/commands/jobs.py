"""``thinkqueue submit``, ``watch``, ``result`` and ``jobs``: one job at a time, as its client sees it."""

import json
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.client.client import Client, Url
from cli.client.live import follow, summary
from cli.client.request_body import is_link, read_files, user_turn
from cli.errors import CommandError
from cli.local.state import DEFAULT_STATE, State
from cli.terminal import printable, say, tell, told

app = typer.Typer()
JsonFlag = Annotated[bool, typer.Option("--json", help="The whole job as JSON.")]
SaveMedia = Annotated[Path | None, typer.Option("--save-media", help="A folder for the result's pictures.")]


@app.command()
def submit(
    words: Annotated[
        list[str], typer.Argument(metavar="[FILE|URL]... QUESTION", help="The question last; - reads it from stdin.")
    ],
    url: Url = "",
    state: State = DEFAULT_STATE,
    budget: Annotated[int | None, typer.Option(help="Thinking tokens; 0: answer at once, -1: no budget.")] = None,
    max_answer: Annotated[int | None, typer.Option(help="Answer tokens.")] = None,
    system: Annotated[str, typer.Option(help="A system message.")] = "",
    after: Annotated[str, typer.Option(help="Go on behind this completed job's answer.")] = "",
    priority: Annotated[str, typer.Option(help="high, default or low.")] = "default",
    temperature: Annotated[float | None, typer.Option(help="0: always the likeliest token.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    callback: Annotated[str, typer.Option(help="A URL to tell of the end.")] = "",
    metadata: Annotated[list[str] | None, typer.Option(help="name=value; repeat it.")] = None,
    key: Annotated[str, typer.Option("--idempotency-key", help="The same key makes the same job.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow it, and print its answer.")] = False,
    save_media: SaveMedia = None,
    as_json: JsonFlag = False,
) -> None:
    """Hand in a job: thinkqueue submit photo.jpg "What is on it?" --budget 2048 --wait"""
    with told():
        client = Client(url, state=state)
        *names, question = words
        if not is_link(question) and Path(question).is_file():
            raise CommandError(f'{question} is a file; the question comes last: submit {question} "What is on it?"')
        if question == "-":
            question = sys.stdin.read()
        turns = [{"role": "system", "content": system}] if system else []
        body: dict[str, Any] = {"messages": [*turns, user_turn(question, read_files(names, client.upload))]}
        sampling = {"temperature": temperature, "seed": seed}
        options: dict[str, Any] = {
            "thinking": None if budget is None else {"budget_tokens": budget},
            "max_answer_tokens": max_answer,
            "previous_job_id": after or None,
            "priority": None if priority == "default" else priority,
            "sampling": {name: value for name, value in sampling.items() if value is not None} or None,
            "callback": {"url": callback} if callback else None,
            "metadata": _pairs(metadata or []) or None,
        }
        body |= {name: value for name, value in options.items() if value is not None}
        # Without one the client makes it, so that a reply that got lost makes no second job.
        job = client.submit(body, idempotency_key=key or f"cli-{secrets.token_hex(16)}")
        if wait:
            raise typer.Exit(_watch(client, job["id"], save_media, as_json=as_json))
    say(json.dumps(job, ensure_ascii=False, indent=2) if as_json else job["id"])
    if not as_json and sys.stdout.isatty():
        tell.print(f"{job['status']}; follow it with: thinkqueue watch {job['id']}", style="dim")


@app.command()
def watch(
    job_id: str, url: Url = "", state: State = DEFAULT_STATE, save_media: SaveMedia = None, as_json: JsonFlag = False
) -> None:
    """Follow a job until its end, and print its answer."""
    with told():
        raise typer.Exit(_watch(Client(url, state=state), job_id, save_media, as_json=as_json))


@app.command()
def result(
    job_id: str, url: Url = "", state: State = DEFAULT_STATE, save_media: SaveMedia = None, as_json: JsonFlag = False
) -> None:
    """Print an ended job's answer."""
    with told():
        client = Client(url, state=state)
        job = client.job(job_id)
        if job["ended_at"] is None:
            raise CommandError(f"{job_id} is {job['status']}; wait for it with: thinkqueue watch {job_id}")
        raise typer.Exit(_show(client, job, save_media, as_json=as_json))


@app.command()
def cancel(job_id: str, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """Ask for no answer any more."""
    with told():
        job = Client(url, state=state).cancel(job_id)
    tell.print(f"{job_id} is {job['status']}" + ("" if job["ended_at"] else ", and ends at its next token"))


@app.command()
def jobs(
    url: Url = "",
    state: State = DEFAULT_STATE,
    status: Annotated[list[str] | None, typer.Option(help="Such as running; repeat it.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="name=value; repeat it: all must fit.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List jobs, newest first."""
    query: dict[str, Any] = {"status": status or []}
    found: list[dict[str, Any]] = []
    with told():
        query |= {f"metadata[{name}]": value for name, value in _pairs(metadata or []).items()}
        client = Client(url, state=state)
        while len(found) < limit:
            page = client.jobs(**query, limit=min(100, limit - len(found)))
            found += page["data"]
            if not page["has_more"]:
                break
            query["after"] = page["last_id"]
    if as_json:
        for job in found:
            say(json.dumps(job, ensure_ascii=False))
        return
    table = Table("id", "status", "priority", "made", "tokens", "metadata", box=None, header_style="bold")
    for job in found:
        pairs = " ".join(f"{name}={value}" for name, value in job["metadata"].items())
        made = datetime.fromtimestamp(job["created_at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(job["id"], job["status"], job["priority"], made, f"{job['tokens']:,}", printable(pairs))
    Console(soft_wrap=True).print(table)


def _watch(client: Client, job_id: str, save_media: Path | None, *, as_json: bool) -> int:
    try:
        follow(job_id, client.events(job_id), tell)
    except KeyboardInterrupt:
        tell.print(f"not watched any more; the job goes on. Again: thinkqueue watch {job_id}", style="dim")
        return 130
    return _show(client, client.job(job_id), save_media, as_json=as_json)


def _show(client: Client, job: dict[str, Any], save_media: Path | None, *, as_json: bool) -> int:
    """Returns the exit status: 0 only for a completed job."""
    if as_json:
        say(json.dumps(job, ensure_ascii=False, indent=2))
    else:
        tell.print(summary(job), style="dim" if job["status"] == "completed" else "red", markup=False)
        if job["output"]:
            say(job["output"]["answer"])
    if save_media:
        save_media.mkdir(parents=True, exist_ok=True)
        for medium in job["media"]:
            path = save_media / Path(medium["name"]).name
            client.download(medium["url"], path)
            tell.print(f"{medium['kind']} {path}", style="dim", markup=False)
    return 0 if job["status"] == "completed" else 1


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if wrong := [name for name, sign, _ in pairs if not (name and sign)]:
        raise CommandError(f"--metadata {wrong[0]} must be name=value.")
    return {name: value for name, _, value in pairs}
