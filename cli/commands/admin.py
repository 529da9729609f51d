"""``thinkqueue status`` and ``drain``: the whole service, as its operator sees it."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from cli.commands.up import installed_settings
from cli.local.state import DEFAULT_STATE, State
from cli.terminal import tell, told
from jobs.scaling import ScalingTargets, decide_scaling
from jobs.table.intake_switch import IntakeSwitch
from jobs.table.scripts import connect
from jobs.table.stats import ServiceStats, StageStats, StatsReader
from runtime.settings import Settings

app = typer.Typer()

EVERY_S = 1.0


@app.command()
def status(
    state: State = DEFAULT_STATE,
    once: Annotated[bool, typer.Option("--once", help="Print it and go.")] = False,
) -> None:
    """Show lines, workers and deliveries, live until Ctrl-C."""
    console = Console()
    with told():
        settings, reader, door = _open(state)
        if once or not console.is_terminal:
            console.print(_picture(reader.read(), settings, is_open=door.is_open()))
            return
        try:
            with Live(console=console, auto_refresh=False, screen=True) as live:
                while True:
                    live.update(_picture(reader.read(), settings, is_open=door.is_open()), refresh=True)
                    time.sleep(EVERY_S)
        except KeyboardInterrupt:
            return


@app.command()
def drain(
    state: State = DEFAULT_STATE,
    reopen: Annotated[bool, typer.Option("--open", help="Take jobs again.")] = False,
    limit_s: Annotated[float, typer.Option("--limit", min=0, help="Seconds to wait; 0: for ever.")] = 0,
) -> None:
    """Take no new jobs, and wait until all that are in have ended and were told of."""
    with told():
        _, reader, door = _open(state)
        if reopen:
            door.resume()
            tell.print("jobs are taken again", style="green")
            return
        door.pause()
        tell.print("no new jobs are taken; `thinkqueue drain --open` takes them again")
        give_up = time.monotonic() + limit_s if limit_s else float("inf")
        try:
            left = _await_empty(reader, give_up)
        except KeyboardInterrupt:
            tell.print("not waited for any more; the door stays shut", style="yellow")
            raise typer.Exit(130) from None
    if left:
        tell.print(f"{left} still to be done after {limit_s:.0f} s", style="red")
        raise typer.Exit(1)
    tell.print("empty: it can be stopped", style="green")


def _open(state: Path) -> tuple[Settings, StatsReader, IntakeSwitch]:
    settings = installed_settings(state)
    client = connect(settings)
    return settings, StatsReader(client, lease_s=settings.lease_s), IntakeSwitch(client)


def _await_empty(reader: StatsReader, give_up: float) -> int:
    """Returns what is left: jobs, streams to be archived, deliveries that were never tried."""
    told = ""
    while True:
        stats = reader.read()
        jobs = sum(found.waiting + found.in_progress for found in stats.stages.values())
        left = jobs + stats.unarchived + stats.deliveries_due
        line = f"{jobs:,} jobs, {stats.deliveries_due:,} deliveries due, {stats.unarchived:,} streams to archive"
        if line != told:
            told = line
            tell.print(line, style="dim")
        if not left or time.monotonic() >= give_up:
            return left
        time.sleep(EVERY_S)


def _picture(stats: ServiceStats, settings: Settings, *, is_open: bool) -> RenderableType:
    lines = _table("stage", "waiting", "high", "default", "low", "next waits", "active", "a second", "each takes")
    workers = _table("stage", "ready", "starting", "draining", "slots", "wanted", "because")
    for stage, found in stats.stages.items():
        decision = decide_scaling(stage, stats, ScalingTargets.for_stage(stage, settings))
        lines.add_row(stage, *_line_cells(found))
        workers.add_row(stage, *_worker_cells(found), str(decision.wanted), decision.reason)
    memory = f"{stats.memory_used / 2**20:,.0f} MiB"
    if stats.memory_limit:
        memory += f" of {stats.memory_limit / 2**20:,.0f}"
    rest = Table.grid(padding=(0, 2, 0, 0))
    rest.add_row("keepers", str(stats.keepers) if stats.keepers else "[red]none[/]")
    oldest = f", the oldest {_span(stats.oldest_delivery_s)}" if stats.deliveries_open else ""
    rest.add_row("deliveries", f"{stats.deliveries_open:,} open{oldest}, {stats.deliveries_due:,} due")
    rest.add_row("ended", ", ".join(f"{count:,} {status}" for status, count in _ended(stats).items()) or "none yet")
    rest.add_row("Redis", memory)
    rest.add_row("intake", "open" if is_open else "[yellow]shut; thinkqueue drain --open takes jobs again[/]")
    return Group(lines, "", workers, "", rest)


def _table(*names: str) -> Table:
    """Narrow enough for 80 columns."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, justify="left" if name in ("stage", "because") else "right", no_wrap=True)
    return table


def _line_cells(found: StageStats) -> list[str]:
    priorities = [f"{found.priorities[priority].waiting:,}" for priority in ("high", "default", "low")]
    head = max((line.oldest_wait_s for line in found.priorities.values()), default=0.0)
    pace = [f"{found.arrivals_per_s:.2f}", _span(found.job_s) if found.job_s else "–"]
    return [f"{found.waiting:,}", *priorities, _span(head), f"{found.in_progress:,}", *pace]


def _worker_cells(found: StageStats) -> list[str]:
    ready = found.in_state("ready")
    slots = sum(worker.slots for worker in ready)
    busy = slots - sum(worker.free for worker in ready)
    return [str(len(found.in_state(state))) for state in ("ready", "starting", "draining")] + [f"{busy}/{slots}"]


def _span(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3600:.1f} h"


def _ended(stats: ServiceStats) -> dict[str, int]:
    """Since the epoch."""
    counts: dict[str, int] = {}
    for name, count in stats.totals.items():
        status = name.partition(":")[0]
        if status not in ("lost", "tokens"):
            counts[status] = counts.get(status, 0) + count
    return counts
