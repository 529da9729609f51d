"""``thinkqueue init``: prepares Redis and the object store, once per installation."""

import typer

from cli.local.settings import read_settings, server_addresses
from cli.terminal import exit_with_error, report_errors, write_stdout
from jobs.errors import ThinkqueueError
from jobs.lifecycle.bootstrap import initialize
from jobs.wakeup.round_trip import check_broker

app = typer.Typer()


@app.command()
def init() -> None:
    """Prepare the servers that REDIS_URL and S3_* name: create the bucket and the job table. Once per installation."""
    with report_errors():
        settings = read_settings({})
    try:
        epoch = initialize(settings)
        check_broker(settings)
    except ThinkqueueError as error:
        raise exit_with_error(f"{error.code}: {error.message} ({server_addresses(settings)})") from error
    write_stdout(f"ready, epoch {epoch}")
