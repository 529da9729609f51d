"""``thinkqueue up``: runs everything on one machine, until Ctrl-C."""

import signal
import time

import typer
from rich.console import Console

from cli.commands.options import DEFAULT_STATE, State
from cli.errors import AlreadyRunning, CommandError, ProcessExited
from cli.local.installation import Installation
from cli.local.service import Service, run_service

app = typer.Typer()


@app.command()
def up(state: State = DEFAULT_STATE) -> None:
    """Run the whole service on this machine, until Ctrl-C."""
    raise typer.Exit(_run(Installation(state.resolve()), Console()))


def _run(installation: Installation, console: Console) -> int:
    """Returns the exit status."""
    stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: _interrupt(stop, number))
    try:
        with run_service(installation, console) as service:
            _print_ready(service, installation, console)
            while not stop:
                for name in service.check():
                    console.print(f"{name} exited and was started again; its log: {installation.logs / name}.log")
                time.sleep(1)
    except AlreadyRunning as error:
        console.print(f"{error}. Its logs: {installation.logs}")
    except (CommandError, ProcessExited) as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _interrupt(stop: list[int], number: int) -> None:
    """The first signal interrupts whatever runs; later ones must not interrupt the shutdown."""
    if not stop:
        stop.append(number)
        raise KeyboardInterrupt


def _print_ready(service: Service, installation: Installation, console: Console) -> None:
    console.print(
        f"[bold green]thinkqueue is ready[/]: {service.url}\n"
        f"  try it     thinkqueue demo, or the curl line in the README\n"
        f"  API        {service.url}/docs\n"
        f"  logs       {installation.logs}\n"
        f"  Ctrl-C stops everything; jobs and secrets stay in {installation.folder}"
    )
