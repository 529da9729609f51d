"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from cli.client.api_client import DEFAULT_URL, ApiClient
from cli.local import run_lock

State = Annotated[
    Path, typer.Option("--state", envvar="THINKQUEUE_STATE", help="Folder of the local service's secrets, data, logs.")
]
Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="THINKQUEUE_URL",
        help=f"Address of the service. Default: the service that runs from --state, else {DEFAULT_URL}.",
    ),
]
JsonLines = Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object a line.")]
DEFAULT_STATE = Path(".thinkqueue")


def api_client(url: str, state: Path, *, connections: int = 20) -> ApiClient:
    """Return a client for ``url``; if it is empty, for the service that runs from ``state``, else for port 8800."""
    running = None if url else run_lock.find(state.resolve())
    return ApiClient(url or (running.url if running else "") or DEFAULT_URL, connections=connections)
