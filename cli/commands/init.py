"""``thinkqueue init``: prepares Redis and the object store, once per installation."""

from typing import Annotated

import typer

from cli.local.settings import read_settings, server_addresses
from cli.terminal import exit_with_error, report_errors, write_stdout
from jobs.errors import ThinkqueueError
from jobs.lifecycle.bootstrap import initialize
from jobs.objects.lifecycle_rules import describe_rules
from jobs.wakeup.round_trip import check_broker

app = typer.Typer()
NoBucket = Annotated[bool, typer.Option("--no-bucket", help="Do not create the bucket: it must exist.")]
NoLifecycle = Annotated[
    bool,
    typer.Option(
        "--no-lifecycle",
        help="Print the bucket's lifecycle rules instead of setting them. Set S3_LIFECYCLE=external for the keeper.",
    ),
]


@app.command()
def init(no_bucket: NoBucket = False, no_lifecycle: NoLifecycle = False) -> None:
    """Prepare the servers that REDIS_URL and S3_* name: create the bucket and the job table. Once per installation."""
    with report_errors():
        settings = read_settings({"S3_LIFECYCLE": "external"} if no_lifecycle else {})
    try:
        epoch = initialize(settings, create_bucket=not no_bucket)
        check_broker(settings)
    except ThinkqueueError as error:
        raise exit_with_error(f"{error.code}: {error.message} ({server_addresses(settings)})") from error
    if settings.s3_lifecycle == "external":
        write_stdout(f"Set these lifecycle rules for the bucket {settings.s3_bucket}:\n{describe_rules(settings)}")
    write_stdout(f"ready, epoch {epoch}")
