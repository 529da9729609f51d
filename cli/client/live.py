"""A job as a person follows it: where it waits, its thinking against the budget, the answer as it comes."""

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

from cli.client.client import Heard
from cli.terminal import printable

THINKING_LINES = 6
ANSWER_LINES = 20
FRAMES = 8


@dataclass
class Follower:
    """What a job's events come to."""

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

    def hear(self, heard: Heard) -> None:
        data = heard.data
        if heard.event == "job.status":
            self.status, self.position, self.media = data["status"], data["position"], data["media"]
        elif heard.event == "job.started":
            self.status, self.attempt = "running", data["attempt"]
            if data["restarted"]:
                self.thinking, self.answer, self.thinking_tokens = "", "", 0
        elif heard.event == "thinking.delta":
            self.thinking += data["text"]
            self.thinking_tokens, self.budget = data["thinking_tokens"], data["budget_tokens"]
        elif heard.event == "answer.delta":
            self.answer += data["text"]
        elif "job" in data:
            self.ended, self.status, self.error = True, data["job"]["status"], data["job"]["error"]

    def line(self) -> str:
        """Where it is, in words."""
        if self.status == "preparing" and self.media:
            return f"preparing, {self.media['ready']} of {self.media['all']} media ready"
        if self.status in ("preparing", "queued") and self.position is not None:
            return f"{self.status}, {_place(self.position)}"
        if self.status == "running" and not self.ended:
            doing = "answering" if self.answer else "thinking" if self.thinking else "reading"
            return doing if self.attempt < 2 else f"{doing}, attempt {self.attempt}"
        return self.status

    def __rich__(self) -> RenderableType:
        head = Table.grid(padding=(0, 1))
        mark: RenderableType = Text("●", "green" if self.status == "completed" else "red")
        if not self.ended:
            mark = self.spinner
        seconds = f"{time.monotonic() - self.since:.0f} s"
        head.add_row(mark, Text(self.job_id, "cyan"), Text(self.line(), "bold"), Text(seconds, "dim"))
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
            bar.add_row(Text(f"  thinking {self.thinking_tokens:,} tokens, no budget"))
        else:
            drawn = ProgressBar(total=self.budget, completed=min(self.thinking_tokens, self.budget), width=36)
            bar.add_row(Text("  thinking"), drawn, Text(f"{self.thinking_tokens:,} of {self.budget:,} tokens"))
        return bar


def follow(job_id: str, events: Iterable[Heard], console: Console) -> Follower:
    """Show a job until its end: live on a terminal, a line for each change elsewhere."""
    follower = Follower(job_id)
    if not console.is_terminal:
        told = ""
        for heard in events:
            follower.hear(heard)
            if (line := follower.line()) != told:
                told = line
                console.print(f"{job_id} {line}", markup=False)
        return follower
    with Live(follower, console=console, refresh_per_second=FRAMES, transient=True):
        for heard in events:
            follower.hear(heard)
    return follower


def summary(job: dict[str, Any]) -> str:
    """An ended job in one line."""
    words = [job["id"], job["status"]]
    if job["error"]:
        words.append(f"{job['error']['code']}: {job['error']['message']}")
    if usage := job["usage"]:
        words.append(f"· thought {usage['thinking_tokens']:,}, answered {usage['answer_tokens']:,} tokens")
        if job["thinking_truncated"]:
            words.append(f"(thinking closed: {job['truncation_reason']})")
    if timings := job["timings"]:
        words.append(f"· waited {timings['prepared_ms'] + timings['queued_ms']} ms")
        words.append(f"· ran {timings['prefill_ms'] + timings['decode_ms']} ms")
    return " ".join(words)


def _place(position: int) -> str:
    return "next in line" if position == 0 else f"{position:,} before it in line"


def _tail(text: str, lines: int) -> str:
    return "\n".join(printable(text).splitlines()[-lines:])
