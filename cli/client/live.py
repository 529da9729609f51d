"""Live view of a job: its queue position, thinking tokens against the budget, and the answer as it is generated."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli.client.api_client import SseEvent
from cli.terminal import printable

THINKING_LINES = 6
ANSWER_LINES = 20
FRAMES_PER_S = 8


@dataclass
class JobView:
    """A job's state, built from its events. Rich renders it."""

    job_id: str
    status: str = "accepted"
    position: int | None = None
    media: dict[str, int] | None = None
    attempt: int = 0
    budget: int = 0
    thinking_tokens: int = 0
    thinking: str = ""
    answer: str = ""
    error: dict[str, str] | None = None
    ended: bool = False
    since: float = field(default_factory=time.monotonic)
    spinner: Spinner = field(default_factory=lambda: Spinner("dots"))

    def apply(self, event: SseEvent) -> None:
        data = event.data
        if event.event == "job.status":
            self.status, self.position, self.media = data["status"], data["position"], data["media"]
        elif event.event == "job.started":
            self.status, self.attempt = "running", data["attempt"]
            if data["restarted"]:
                self.thinking, self.answer, self.thinking_tokens = "", "", 0
        elif event.event == "thinking.delta":
            self.thinking += data["text"]
            self.thinking_tokens, self.budget = data["thinking_tokens"], data["budget_tokens"]
        elif event.event == "answer.delta":
            self.answer += data["text"]
        elif "job" in data:
            self.ended, self.status, self.error = True, data["job"]["status"], data["job"]["error"]

    def state(self) -> str:
        """Describe where the job is."""
        if self.status == "preparing" and self.media:
            return f"preparing, {self.media['ready']} of {self.media['all']} media ready"
        if self.status in ("preparing", "queued") and self.position is not None:
            return f"{self.status}, {_position(self.position)}"
        if self.status == "running" and not self.ended:
            phase = "answering" if self.answer else "thinking" if self.thinking else "prefill"
            return phase if self.attempt < 2 else f"{phase}, attempt {self.attempt}"
        return self.status

    def __rich__(self) -> RenderableType:
        head = Table.grid(padding=(0, 1))
        mark: RenderableType = self.spinner
        if self.ended:
            mark = Text("●", "green" if self.status == "completed" else "red")
        seconds = f"{time.monotonic() - self.since:.0f} s"
        head.add_row(mark, Text(self.job_id, "cyan"), Text(self.state(), "bold"), Text(seconds, "dim"))
        rows: list[RenderableType] = [head]
        if self.thinking_tokens:
            rows.append(self._thinking_bar())
        if self.thinking and not self.answer:
            rows.append(Text(_tail(self.thinking, THINKING_LINES), "dim italic"))
        if self.answer:
            rows.append(Text(_tail(self.answer, ANSWER_LINES)))
        if self.error:
            rows.append(Text(f"{self.error['code']}: {self.error['message']}", "red"))
        return Group(*rows)

    def _thinking_bar(self) -> RenderableType:
        bar = Table.grid(padding=(0, 1))
        if self.budget <= 0:
            bar.add_row(Text(f"  thinking {self.thinking_tokens:,} tokens, no limit"))
        else:
            progress = ProgressBar(total=self.budget, completed=min(self.thinking_tokens, self.budget), width=36)
            bar.add_row(Text("  thinking"), progress, Text(f"{self.thinking_tokens:,} of {self.budget:,} tokens"))
        return bar


def follow(job_id: str, events: Iterable[SseEvent], console: Console) -> JobView:
    """Show a job until it ends: live on a terminal, one line for each change elsewhere."""
    view = JobView(job_id)
    if not console.is_terminal:
        printed = ""
        for event in events:
            view.apply(event)
            if (state := view.state()) != printed:
                printed = state
                console.print(f"{job_id} {state}", markup=False)
        return view
    with Live(view, console=console, refresh_per_second=FRAMES_PER_S, transient=True):
        for event in events:
            view.apply(event)
    return view


def summary(job: dict[str, Any]) -> str:
    """Describe an ended job in one line."""
    words = [job["id"], job["status"]]
    if job["error"]:
        words.append(f"{job['error']['code']}: {job['error']['message']}")
    if usage := job["usage"]:
        words.append(f"· thought {usage['thinking_tokens']:,}, answered {usage['answer_tokens']:,} tokens")
        if job["thinking_truncated"]:
            words.append(f"(thinking ended early: {job['truncation_reason']})")
    if timings := job["timings"]:
        words.append(f"· waited {timings['prepared_ms'] + timings['queued_ms']} ms")
        words.append(f"· ran {timings['prefill_ms'] + timings['decode_ms']} ms")
    return " ".join(words)


def _position(position: int) -> str:
    return "next in the queue" if position == 0 else f"{position:,} jobs ahead"


def _tail(text: str, lines: int) -> str:
    return "\n".join(printable(text).splitlines()[-lines:])
