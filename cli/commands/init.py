"""``thinkqueue init``: prepares Redis and the object store, once per installation."""

import typer

from cli.local.settings import read_settings
from cli.terminal import report_errors, write_stdout
from jobs.lifecycle.bootstrap import initialize

app = typer.Typer()


@app.command()
def init() -> None:
    """Prepare the servers that REDIS_URL and S3_* name: create the bucket and the job table. Once per installation."""
    with report_errors():
        epoch = initialize(read_settings({}))
    write_stdout(f"ready, epoch {epoch}")
