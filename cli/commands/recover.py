"""``thinkqueue recover``: the job table anew, out of the object store, when Redis has lost it."""

import os

from rich.console import Console

from cli.commands.up import read_settings
from cli.errors import CommandError
from cli.local.installation import Installation
from jobs.errors import ThinkqueueError
from jobs.lifecycle.recovery import recover as recover_table
from runtime.logs import configure_logs


def recover(installation: Installation, console: Console) -> int:
    """For the running installation's servers, or those that the environment names. Returns the exit status."""
    values = installation.values(os.environ)
    try:
        settings = read_settings(installation.environment(values, installation.servers(values)))
    except (CommandError, KeyError) as error:
        console.print(f"No servers to recover: set REDIS_URL and S3_* ({error}).", style="red", markup=False)
        return 1
    # A line a job is for the keeper's log; here the sum is told. What cannot be read is told at once.
    configure_logs(settings.model_copy(update={"log_level": "warning"}), process="recover")
    try:
        with console.status("Holding the job table against the objects"):
            report = recover_table(settings)
    except ThinkqueueError as error:
        console.print(f"{error.code}: {error.message} Run it again; what was done stays.", style="red", markup=False)
        return 1
    console.print(str(report), highlight=False)
    return 0
