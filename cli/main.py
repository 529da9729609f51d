"""The ``thinkqueue`` command."""

import os
from secrets import token_urlsafe

import typer
from pydantic import ValidationError
from rich.console import Console

from cli.commands import admin, batch, doctor, jobs, keys
from cli.commands import demo as demo_command
from cli.commands import recover as recover_command
from cli.commands import up as up_command
from cli.local.installation import Installation, new_secrets
from cli.local.state import DEFAULT_STATE, State
from cli.terminal import say
from jobs.errors import ThinkqueueError
from jobs.lifecycle.bootstrap import initialize
from runtime.settings import Settings

app = typer.Typer(
    help="Asynchronous jobs for vision-language models that think.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

app.add_typer(jobs.app)
app.add_typer(batch.app)
app.add_typer(admin.app)
app.add_typer(doctor.app)
app.add_typer(keys.app, name="keys")


@app.command()
def up(state: State = DEFAULT_STATE) -> None:
    """Run everything on this machine, until Ctrl-C."""
    raise typer.Exit(up_command.up(Installation(state.resolve()), console))


@app.command()
def demo(state: State = DEFAULT_STATE) -> None:
    """Hand in a picture, wait for its webhook, verify it, and explain."""
    raise typer.Exit(demo_command.demo(Installation(state.resolve()), console))


@app.command()
def secrets() -> None:
    """Print new secrets, as docker-compose.yml wants them in .env."""
    values = {**new_secrets(), "GRAFANA_PASSWORD": token_urlsafe(18)}
    say("\n".join(f"{name}={value}" for name, value in values.items()))


@app.command()
def init() -> None:
    """Make REDIS_URL and S3_* ready for jobs: bucket, a probe of the store, the first epoch. Once per installation."""
    try:
        epoch = initialize(Settings())
    except ValidationError as error:
        missing = ", ".join(str(fault["loc"][0]).upper() for fault in error.errors())
        console.print(f"These settings are missing or wrong: {missing}", style="red")
        raise typer.Exit(1) from error
    except ThinkqueueError as error:
        console.print(f"{error.code}: {error.message}", style="red", markup=False)
        raise typer.Exit(1) from error
    console.print(f"ready, epoch {epoch}")


@app.command()
def recover(state: State = DEFAULT_STATE) -> None:
    """Make the job table anew out of the object store, when Redis has lost its data. Safe beside running processes."""
    raise typer.Exit(recover_command.recover(Installation(state.resolve()), console))


if __name__ == "__main__":
    os.umask(0o077)
    app()
