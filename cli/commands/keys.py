"""``thinkqueue keys``: make, list, rotate and revoke API keys."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Column, Table

from cli.commands.up import installed_settings
from cli.errors import CommandError
from cli.local.state import DEFAULT_STATE, State
from jobs.errors import ThinkqueueError, Unavailable
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from jobs.tenants.api_keys import ApiKey, Keys
from jobs.tenants.webhook_secrets import WebhookSecrets
from runtime.settings import Settings

app = typer.Typer(help="API keys, for a service that runs with AUTH=keys.", no_args_is_help=True)
console = Console(soft_wrap=True)
T = TypeVar("T")


@app.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose jobs it sees: a-z, 0-9, - and _.")],
    state: State = DEFAULT_STATE,
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    priority: Annotated[list[str] | None, typer.Option(help="A priority that it may ask for; repeat it.")] = None,
    max_open_jobs: Annotated[int, typer.Option(help="0: the service's default.")] = 0,
    requests_per_minute: Annotated[int, typer.Option(help="0: the service's default.")] = 0,
) -> None:
    """Make a key and show it, once."""
    settings, keys = _open(state)
    fields = {
        "id": "",
        "tenant": tenant,
        "name": name,
        "priorities": priority or ["default", "low"],
        "max_open_jobs": max_open_jobs,
        "requests_per_minute": requests_per_minute,
    }
    try:
        key, token = keys.create(ApiKey.from_fields(fields))
    except ValueError as error:
        raise _failed(str(error)) from error
    except ThinkqueueError as error:
        raise _failed(_with_remedy(error)) from error
    _show(key, token)
    secret = _answered(lambda: WebhookSecrets(ObjectStore(settings), settings).show_first(tenant))
    if secret:
        console.print(f"secret of {tenant}'s webhooks, shown only now: {secret}", markup=False, highlight=False)


@app.command("list")
def list_keys(state: State = DEFAULT_STATE) -> None:
    """Show all keys, without their secrets."""
    _, keys = _open(state)
    table = Table(
        Column("id", overflow="fold", min_width=30),
        "tenant",
        "name",
        "priorities",
        "open jobs",
        "per minute",
        "made",
        "expires",
    )
    for key in _answered(keys.all):
        limits = (str(limit or "default") for limit in (key.max_open_jobs, key.requests_per_minute))
        times = (_day(moment) for moment in (key.created_ms, key.expires_ms))
        table.add_row(key.id, key.tenant, key.name, " ".join(key.priorities), *limits, *times)
    console.print(table)


@app.command()
def revoke(key_id: str, state: State = DEFAULT_STATE) -> None:
    """End a key now."""
    _, keys = _open(state)
    if not _answered(lambda: keys.revoke(key_id)):
        raise _failed(f"there is no key {key_id}")
    console.print(f"{key_id} is revoked")


@app.command()
def rotate(key_id: str, state: State = DEFAULT_STATE) -> None:
    """Make a new key with the same rights; the old one works for another day."""
    _, keys = _open(state)
    found = _answered(lambda: keys.rotate(key_id))
    if found is None:
        raise _failed(f"there is no key {key_id}")
    _show(*found)
    console.print(f"{key_id} ends in 24 hours")


def _open(state: Path) -> tuple[Settings, Keys]:
    try:
        settings = installed_settings(state)
    except CommandError as error:
        raise _failed(str(error)) from error
    return settings, Keys(connect(settings), ObjectStore(settings))


def _answered(call: Callable[[], T]) -> T:
    try:
        return call()
    except ThinkqueueError as error:
        raise _failed(_with_remedy(error)) from error


def _with_remedy(error: ThinkqueueError) -> str:
    if isinstance(error, Unavailable):
        return f"{error.message} If it is not running at all: `thinkqueue up` starts it; `thinkqueue doctor` says more."
    return error.message


def _show(key: ApiKey, token: str) -> None:
    console.print(
        f"{key.id}  tenant {key.tenant}  priorities {' '.join(key.priorities)}", markup=False, highlight=False
    )
    console.print(f"key, shown only now: {token}", markup=False, highlight=False)


def _day(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M") if moment_ms else "never"


def _failed(message: str) -> typer.Exit:
    console.print(message, style="red", markup=False, highlight=False)
    return typer.Exit(1)
