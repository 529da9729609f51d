"""``thinkqueue demo``: a picture goes in, a signed webhook comes out, and the reader sees each step."""

import base64
import os
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from standardwebhooks import Webhook, WebhookVerificationError

from cli.commands.up import read_settings, running
from cli.errors import AlreadyRunning, CommandError, ProcessExited
from cli.local.installation import Installation
from cli.local.receiver import Delivery, Receiver
from jobs.model.job import JobStatus
from runtime.settings import Settings

PICTURE = Path(__file__).parent / "shapes.png"
QUESTION = "How many red circles are there? Show where."
RIGHT = "2"
"""What the answer begins with, if it is right."""
BUDGET = 160
ANSWER_LIMIT = 128
JOB_LIMIT_S = 120.0
WEBHOOK_LIMIT_S = 30.0
LINES = 16


class DemoFailed(Exception):
    """Says at which step, and what was seen."""


def demo(installation: Installation, console: Console) -> int:
    """The command. Returns its exit status: 0 only for a completed job and a verified webhook."""
    try:
        with service(installation, console) as (url, settings), Receiver() as receiver:
            tell_story(url, settings, receiver, console, installation.folder)
    except (AlreadyRunning, CommandError, ProcessExited, DemoFailed, httpx.HTTPError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False, highlight=False)
        return 1
    return 0


@contextmanager
def service(installation: Installation, console: Console) -> Iterator[tuple[str, Settings]]:
    """The running installation, or one for the time of the demo."""
    if already := installation.running():
        console.print(f"using what runs at {already.url}", style="dim")
        values = installation.values(os.environ)
        yield already.url, read_settings(installation.environment(values, installation.servers(values)))
    else:
        with running(installation, console) as started:
            yield started.url, started.settings


def tell_story(url: str, settings: Settings, receiver: Receiver, console: Console, folder: Path) -> None:
    api = httpx.Client(base_url=url, timeout=15)
    console.print(f"\n[bold]1[/]  a picture, [cyan]{PICTURE.name}[/], and a question: [italic]{QUESTION}[/]")
    started = time.monotonic()
    reply = api.post("/v1/jobs", json=request_body(receiver.url))
    if reply.status_code != 202:
        raise DemoFailed(f"POST /v1/jobs answered {reply.status_code}: {reply.text}")
    job_id = reply.json()["id"]
    took_ms = (time.monotonic() - started) * 1000
    console.print(f"[bold]2[/]  POST /v1/jobs → [green]202[/] in {took_ms:.0f} ms: [cyan]{job_id}[/] is durable now")
    job = follow(api, job_id, console)
    if job["status"] != JobStatus.COMPLETED:
        raise DemoFailed(f"the job ended as {job['status']}: {job['error']}")
    show_result(job, settings, console)
    show_media(job, console, folder)
    show_webhook(await_webhook(receiver), job_id, settings, console)
    console.print(
        "\nWhat you saw: a thin api took the job and answered at once; a prepare worker checked the picture; the gpu "
        "worker thought on its budget, then answered; the result was written once, and the keeper told your "
        "receiver, with a signature that you can check. The job table is in Valkey, all else in SeaweedFS."
    )


def request_body(callback: str) -> dict[str, Any]:
    picture = base64.b64encode(PICTURE.read_bytes()).decode()
    return {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
                    {"type": "text", "text": QUESTION},
                ],
            }
        ],
        "thinking": {"budget_tokens": BUDGET},
        "max_answer_tokens": ANSWER_LIMIT,
        "callback": {"url": callback, "events": ["job.completed", "job.failed"]},
        "metadata": {"from": "thinkqueue demo"},
    }


def follow(api: httpx.Client, job_id: str, console: Console) -> dict[str, Any]:
    """Poll until the job has ended, and tell each status once."""
    seen: list[str] = []
    give_up = time.monotonic() + JOB_LIMIT_S
    while time.monotonic() < give_up:
        job: dict[str, Any] = api.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        if job["status"] not in seen:
            seen.append(job["status"])
        if JobStatus(job["status"]).is_terminal:
            console.print(f"[bold]3[/]  seen while polling: {' → '.join(seen)}")
            return job
        time.sleep(0.02)
    raise DemoFailed(f"{job_id} had not ended after {JOB_LIMIT_S:.0f} s; it was last seen {seen[-1]}")


def show_result(job: dict[str, Any], settings: Settings, console: Console) -> None:
    usage, timings, output = job["usage"], job["timings"], job["output"]
    closed = f"closed for it ({job['truncation_reason']})" if job["thinking_truncated"] else "closed by itself"
    console.print(
        f"[bold]4[/]  thinking, {usage['thinking_tokens']} of {BUDGET} tokens, {closed}:\n"
        f"   [dim]{indented(output['thinking'])}[/]\n"
        f"   answer, {usage['answer_tokens']} tokens: [bold]{indented(output['answer'])}[/]"
    )
    if settings.model == "pocket":
        console.print(f"   {verdict(output['answer'])}")
    console.print(
        f"   prompt {usage['input_tokens']} tokens · prepared {timings['prepared_ms']} ms · queued"
        f" {timings['queued_ms']} ms · prefill {timings['prefill_ms']} ms · decode {timings['decode_ms']} ms"
    )


def verdict(answer: str) -> str:
    """The picture is known, so the answer can be checked."""
    if answer.startswith(RIGHT):
        return f"[green]That is right: {RIGHT}.[/]"
    return f"[yellow]That is wrong: it is {RIGHT}. The model is small; pocket/README.md says how often it errs.[/]"


def show_media(job: dict[str, Any], console: Console, folder: Path) -> None:
    """Fetch the boxed picture, as a client would, by its link."""
    for medium in job["media"]:
        if medium["kind"] != "annotated":
            continue
        file = folder / f"demo-{Path(medium['name']).name}"
        file.write_bytes(httpx.get(medium["url"], timeout=15).raise_for_status().content)
        console.print(f"   the picture with its boxes: {file}", soft_wrap=True, highlight=False)


def indented(text: str) -> str:
    """At most so many lines of it, with nothing that a terminal would obey."""
    lines = ["".join(sign if sign.isprintable() else " " for sign in line)[:100] for line in text.splitlines()]
    shown = [*lines[:LINES], "…"] if len(lines) > LINES else lines
    return escape("\n   ".join(shown))


def await_webhook(receiver: Receiver) -> Delivery:
    try:
        return receiver.deliveries.get(timeout=WEBHOOK_LIMIT_S)
    except queue.Empty:
        raise DemoFailed(f"no webhook came within {WEBHOOK_LIMIT_S:.0f} s; see the keeper's log") from None


def show_webhook(delivery: Delivery, job_id: str, settings: Settings, console: Console) -> None:
    try:
        event = Webhook(settings.webhook_secret.get_secret_value()).verify(delivery.body, delivery.headers)
    except WebhookVerificationError as error:
        raise DemoFailed(f"the webhook's signature is wrong: {error}") from error
    if event["type"] != "job.completed" or event["data"]["id"] != job_id:
        raise DemoFailed(f"the webhook is about something else: {event['type']} of {event['data']['id']}")
    console.print(f"[bold]5[/]  [green]webhook verified[/]: {event['type']}, {event['id']}, {len(delivery.body)} bytes")
