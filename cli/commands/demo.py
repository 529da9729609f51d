"""``thinkqueue demo``: submits an image, waits for its signed webhook, and explains each step."""

import base64
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from standardwebhooks import Webhook, WebhookVerificationError

from cli.commands.options import DEFAULT_STATE, State
from cli.errors import AlreadyRunning, CommandError, ProcessExited
from cli.local.installation import Installation
from cli.local.receiver import Delivery, Receiver
from cli.local.service import run_service
from cli.local.settings import installed_settings
from jobs.model.job import JobStatus
from jobs.objects.store import ObjectStore
from jobs.tenants.api_key import ANONYMOUS
from jobs.tenants.webhook_secrets import WebhookSecrets
from runtime.settings import Settings

app = typer.Typer()

IMAGE = Path(__file__).parent / "shapes.png"
QUESTION = "How many red circles are there? Show where."
RIGHT_ANSWER = "2"
"""A right answer begins with it."""
BUDGET = 160
MAX_ANSWER_TOKENS = 128
JOB_TIMEOUT_S = 120.0
WEBHOOK_TIMEOUT_S = 30.0
MAX_LINES = 16


class DemoFailed(Exception):
    """Says which step failed, and what was received."""


@app.command()
def demo(state: State = DEFAULT_STATE) -> None:
    """Submit an image, wait for the webhook, verify it, and explain each step."""
    raise typer.Exit(_run(Installation(state.resolve()), Console()))


def _run(installation: Installation, console: Console) -> int:
    """Returns the exit status: 0 only for a completed job and a verified webhook."""
    try:
        with service(installation, console) as (url, settings), Receiver() as receiver:
            show_steps(url, settings, receiver, console, installation.folder)
    except (AlreadyRunning, CommandError, ProcessExited, DemoFailed, httpx.HTTPError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False, highlight=False)
        return 1
    return 0


@contextmanager
def service(installation: Installation, console: Console) -> Iterator[tuple[str, Settings]]:
    """Use the service that runs from the folder, or start one for the time of the demo."""
    if running := installation.running():
        console.print(f"using the service at {running.url}", style="dim")
        yield running.url, installed_settings(installation.folder)
    else:
        with run_service(installation, console) as started:
            yield started.url, started.settings


def show_steps(url: str, settings: Settings, receiver: Receiver, console: Console, folder: Path) -> None:
    api = httpx.Client(base_url=url, timeout=15)
    console.print(f"\n[bold]1[/]  an image, [cyan]{IMAGE.name}[/], and a question: [italic]{QUESTION}[/]")
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
        "\nWhat happened: the api stored the job and answered at once; a prepare worker checked the image; a generate "
        "worker thought within the budget, then answered; the result was written once, and the keeper sent it to "
        "the receiver in a signed webhook. The job table is in Valkey, everything else in SeaweedFS."
    )


def request_body(callback: str) -> dict[str, Any]:
    image = base64.b64encode(IMAGE.read_bytes()).decode()
    return {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
                    {"type": "text", "text": QUESTION},
                ],
            }
        ],
        "thinking": {"budget_tokens": BUDGET},
        "max_answer_tokens": MAX_ANSWER_TOKENS,
        "callback": {"url": callback, "events": ["job.completed", "job.failed"]},
        "metadata": {"from": "thinkqueue demo"},
    }


def follow(api: httpx.Client, job_id: str, console: Console) -> dict[str, Any]:
    """Poll until the job has ended. Prints the statuses that were seen."""
    seen: list[str] = []
    give_up = time.monotonic() + JOB_TIMEOUT_S
    while time.monotonic() < give_up:
        job: dict[str, Any] = api.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        if job["status"] not in seen:
            seen.append(job["status"])
        if JobStatus(job["status"]).is_terminal:
            console.print(f"[bold]3[/]  seen while polling: {' → '.join(seen)}")
            return job
        time.sleep(0.02)
    raise DemoFailed(f"{job_id} had not ended after {JOB_TIMEOUT_S:.0f} s; it was last seen {seen[-1]}")


def show_result(job: dict[str, Any], settings: Settings, console: Console) -> None:
    usage, timings, output = job["usage"], job["timings"], job["output"]
    closed = f"ended early ({job['truncation_reason']})" if job["thinking_truncated"] else "ended by the model"
    console.print(
        f"[bold]4[/]  thinking, {usage['thinking_tokens']} of {BUDGET} tokens, {closed}:\n"
        f"   [dim]{indented(output['thinking'])}[/]\n"
        f"   answer, {usage['answer_tokens']} tokens: [bold]{indented(output['answer'])}[/]"
    )
    if settings.model == "pocket":
        console.print(f"   {check_answer(output['answer'])}")
    console.print(
        f"   prompt {usage['input_tokens']} tokens · prepared {timings['prepared_ms']} ms · queued"
        f" {timings['queued_ms']} ms · prefill {timings['prefill_ms']} ms · decode {timings['decode_ms']} ms"
    )


def check_answer(answer: str) -> str:
    """Compare the answer with the known content of the image."""
    if answer.startswith(RIGHT_ANSWER):
        return f"[green]That is right: {RIGHT_ANSWER}.[/]"
    return f"[yellow]That is wrong: it is {RIGHT_ANSWER}. The model is small; pocket/README.md has its error rates.[/]"


def show_media(job: dict[str, Any], console: Console, folder: Path) -> None:
    """Download the annotated image by its presigned URL, as a client would."""
    for item in job["media"]:
        if item["kind"] != "annotated":
            continue
        file = folder / f"demo-{Path(item['name']).name}"
        file.write_bytes(httpx.get(item["url"], timeout=15).raise_for_status().content)
        console.print(f"   the image with its boxes: {file}", soft_wrap=True, highlight=False)


def indented(text: str) -> str:
    """Return the first lines, indented, without control characters."""
    lines = ["".join(sign if sign.isprintable() else " " for sign in line)[:100] for line in text.splitlines()]
    shown = [*lines[:MAX_LINES], "…"] if len(lines) > MAX_LINES else lines
    return escape("\n   ".join(shown))


def await_webhook(receiver: Receiver) -> Delivery:
    try:
        return receiver.deliveries.get(timeout=WEBHOOK_TIMEOUT_S)
    except queue.Empty:
        raise DemoFailed(f"no webhook arrived within {WEBHOOK_TIMEOUT_S:.0f} s; see the keeper's log") from None


def show_webhook(delivery: Delivery, job_id: str, settings: Settings, console: Console) -> None:
    try:
        secret = WebhookSecrets(ObjectStore(settings), settings).current(ANONYMOUS.tenant)
        event = Webhook(secret).verify(delivery.body, delivery.headers)
    except WebhookVerificationError as error:
        raise DemoFailed(f"the webhook's signature is not valid: {error}") from error
    if event["type"] != "job.completed" or event["data"]["id"] != job_id:
        raise DemoFailed(f"the webhook is for another event: {event['type']} of {event['data']['id']}")
    console.print(f"[bold]5[/]  [green]webhook verified[/]: {event['type']}, {event['id']}, {len(delivery.body)} bytes")
