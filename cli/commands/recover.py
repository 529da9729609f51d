"""``thinkqueue recover``: rebuilds the job table from the object store."""

import typer
from rich.console import Console

from cli.commands.options import DEFAULT_STATE, State
from cli.local.settings import installed_settings, server_addresses
from cli.terminal import exit_with_error, report_errors
from jobs.errors import ThinkqueueError
from jobs.lifecycle.recovery.reconcile import recover as recover_table
from runtime.telemetry.logs import configure_logs

app = typer.Typer()


@app.command()
def recover(state: State = DEFAULT_STATE) -> None:
    """Rebuild the job table from the object store, after Redis lost its data. Safe while the service runs."""
    console = Console()
    with report_errors():
        settings = installed_settings(state)
    # The keeper logs a line for each job; here the report counts them. Objects that cannot be read are still logged.
    configure_logs(settings.model_copy(update={"log_level": "warning"}), process="recover")
    try:
        with console.status("Reconciling the job table with the object store"):
            report = recover_table(settings)
    except ThinkqueueError as error:
        raise exit_with_error(
            f"{error.code}: {error.message} ({server_addresses(settings)}) Run it again; it resumes where it stopped."
        ) from error
    console.print(str(report), highlight=False)
