"""``thinkqueue status`` and ``drain``: the whole service, as its operator sees it."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from cli.commands.options import DEFAULT_STATE, State
from cli.local.settings import connect_redis, installed_settings
from cli.terminal import new_table, report_errors, stderr, write_json
from jobs.scaling import ScalingTargets, decide_scaling
from jobs.table.intake.intake_switch import IntakeSwitch
from jobs.table.reports.stats import ServiceStats, StageStats, StatsReader
from runtime.settings import Settings

app = typer.Typer()

INTERVAL_S = 1.0
PRIORITIES = ("high", "default", "low")
WORKER_STATES = ("ready", "starting", "draining")


@app.command()
def status(
    state: State = DEFAULT_STATE,
    once: Annotated[bool, typer.Option("--once", help="Print the status once and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status once, as one JSON object.")] = False,
) -> None:
    """Show queues, workers and webhook deliveries, live until Ctrl-C."""
    console = Console()
    with report_errors():
        settings, reader, intake = _open(state)
        if as_json:
            write_json(_document(reader.read(), settings, is_open=intake.is_open()), indent=2)
            return
        if once or not console.is_terminal:
            console.print(_render(reader.read(), settings, is_open=intake.is_open()))
            return
        try:
            with Live(console=console, auto_refresh=False, screen=True) as live:
                while True:
                    live.update(_render(reader.read(), settings, is_open=intake.is_open()), refresh=True)
                    time.sleep(INTERVAL_S)
        except KeyboardInterrupt:
            return


@app.command()
def drain(
    state: State = DEFAULT_STATE,
    resume: Annotated[bool, typer.Option("--resume", help="Accept jobs again.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait; 0: no limit.")] = 0,
) -> None:
    """Stop accepting jobs, wait until all accepted jobs have ended and their webhooks are delivered."""
    with report_errors():
        _, reader, intake = _open(state)
        if resume:
            intake.resume()
            stderr.print("jobs are accepted again", style="green")
            return
        intake.pause()
        stderr.print("no new jobs are accepted; `thinkqueue drain --resume` accepts them again")
        give_up = time.monotonic() + timeout_s if timeout_s else float("inf")
        try:
            left = _await_empty(reader, give_up)
        except KeyboardInterrupt:
            stderr.print("stopped waiting; new jobs are still refused", style="yellow")
            raise typer.Exit(130) from None
    if left:
        stderr.print(f"{left} left after {timeout_s:.0f} s", style="red")
        raise typer.Exit(1)
    stderr.print("the service is empty; it can be stopped", style="green")


def _open(state: Path) -> tuple[Settings, StatsReader, IntakeSwitch]:
    settings = installed_settings(state)
    client = connect_redis(settings)
    return settings, StatsReader(client, lease_s=settings.lease_s), IntakeSwitch(client)


def _await_empty(reader: StatsReader, give_up: float) -> int:
    """Wait until nothing is left. Returns what is left: jobs, streams to archive, deliveries never attempted."""
    printed = ""
    while True:
        stats = reader.read()
        jobs = sum(stage.waiting + stage.in_progress for stage in stats.stages.values())
        left = jobs + stats.unarchived + stats.deliveries_due
        line = f"{jobs:,} jobs, {stats.deliveries_due:,} deliveries due, {stats.unarchived:,} streams to archive"
        if line != printed:
            printed = line
            stderr.print(line, style="dim")
        if not left or time.monotonic() >= give_up:
            return left
        time.sleep(INTERVAL_S)


def _document(stats: ServiceStats, settings: Settings, *, is_open: bool) -> dict[str, Any]:
    stages = {}
    for name, stage in stats.stages.items():
        decision = decide_scaling(name, stats, ScalingTargets.for_stage(name, settings))
        workers = {state: len(stage.in_state(state)) for state in WORKER_STATES}
        stages[str(name)] = {
            "waiting": {priority: stage.priorities[priority].waiting for priority in PRIORITIES},
            "oldest_wait_s": _oldest_wait_s(stage),
            "in_progress": stage.in_progress,
            "arrivals_per_s": stage.arrivals_per_s,
            "job_s": stage.job_s or None,
            "workers": {**workers, "wanted": decision.wanted, "reason": decision.reason},
        }
    return {
        "intake": "open" if is_open else "paused",
        "stages": stages,
        "keepers": stats.keepers,
        "deliveries": {
            "open": stats.deliveries_open,
            "due": stats.deliveries_due,
            "oldest_s": stats.oldest_delivery_s if stats.deliveries_open else None,
        },
        "ended": _ended(stats),
        "redis": {"used_bytes": stats.memory_used, "max_bytes": stats.memory_limit or None},
    }


def _render(stats: ServiceStats, settings: Settings, *, is_open: bool) -> RenderableType:
    queues = _table("stage", "waiting", *PRIORITIES, "oldest", "running", "per s", "job time")
    workers = _table("stage", *WORKER_STATES, "slots", "wanted", "because")
    for name, stage in stats.stages.items():
        decision = decide_scaling(name, stats, ScalingTargets.for_stage(name, settings))
        queues.add_row(name, *_queue_cells(stage))
        workers.add_row(name, *_worker_cells(stage), str(decision.wanted), decision.reason)
    memory = f"{stats.memory_used / 2**20:,.0f} MiB"
    if stats.memory_limit:
        memory += f" of {stats.memory_limit / 2**20:,.0f}"
    rest = Table.grid(padding=(0, 2, 0, 0))
    rest.add_row("keepers", str(stats.keepers) if stats.keepers else "[red]none[/]")
    oldest = f", the oldest for {_duration(stats.oldest_delivery_s)}" if stats.deliveries_open else ""
    rest.add_row("deliveries", f"{stats.deliveries_open:,} open{oldest}, {stats.deliveries_due:,} due")
    rest.add_row("ended", ", ".join(f"{count:,} {status}" for status, count in _ended(stats).items()) or "none yet")
    rest.add_row("Redis", memory)
    rest.add_row("intake", "open" if is_open else "[yellow]paused; thinkqueue drain --resume accepts jobs again[/]")
    return Group(queues, "", workers, "", rest)


def _table(*names: str) -> Table:
    """At most 80 columns wide."""
    table = new_table()
    for name in names:
        table.add_column(name, justify="left" if name in ("stage", "because") else "right", no_wrap=True)
    return table


def _queue_cells(stage: StageStats) -> list[str]:
    priorities = [f"{stage.priorities[priority].waiting:,}" for priority in PRIORITIES]
    pace = [f"{stage.arrivals_per_s:.2f}", _duration(stage.job_s) if stage.job_s else "–"]
    return [f"{stage.waiting:,}", *priorities, _duration(_oldest_wait_s(stage)), f"{stage.in_progress:,}", *pace]


def _oldest_wait_s(stage: StageStats) -> float:
    return max((queue.oldest_wait_s for queue in stage.priorities.values()), default=0.0)


def _worker_cells(stage: StageStats) -> list[str]:
    ready = stage.in_state("ready")
    slots = sum(worker.slots for worker in ready)
    busy = slots - sum(worker.free for worker in ready)
    return [str(len(stage.in_state(state))) for state in WORKER_STATES] + [f"{busy}/{slots}"]


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3600:.1f} h"


def _ended(stats: ServiceStats) -> dict[str, int]:
    """Ended jobs by status, since the epoch."""
    counts: dict[str, int] = {}
    for name, count in stats.totals.items():
        status = name.partition(":")[0]
        if status not in ("lost", "tokens"):
            counts[status] = counts.get(status, 0) + count
    return counts
