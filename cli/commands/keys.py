"""``thinkqueue keys``: create, list, rotate and revoke API keys."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from cli.commands.options import DEFAULT_STATE, JsonLines, State
from cli.errors import CommandError
from cli.local.settings import connect_redis, installed_settings
from cli.terminal import new_table, print_table, report_errors, stderr, write_json, write_stdout
from jobs.errors import ThinkqueueError, Unavailable
from jobs.model.times import format_time, format_time_if_set
from jobs.objects.store import ObjectStore
from jobs.tenants.api_key import ANONYMOUS, QUOTAS, SCOPES, TENANT, ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from jobs.tenants.webhook_secrets import WebhookSecrets
from runtime.settings import Settings

app = typer.Typer()
keys = typer.Typer(help="Manage API keys, for a service that runs with AUTH=keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")
T = TypeVar("T")


@keys.command()
def create(
    tenant: Annotated[str, typer.Option(help="Tenant whose jobs the key can see: a-z, 0-9, - and _.")],
    state: State = DEFAULT_STATE,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    priority: Annotated[list[str] | None, typer.Option(help="A priority that the key may use; repeatable.")] = None,
    max_open_jobs: Annotated[int, typer.Option(help="0: the service's default.")] = 0,
    requests_per_minute: Annotated[int, typer.Option(help="0: the service's default.")] = 0,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(SCOPES)}; repeatable. Default: all of them.")
    ] = None,
    quota: Annotated[
        list[str] | None,
        typer.Option(help=f"A limit of the tenant, such as tokens_per_day=1000000; repeatable: {', '.join(QUOTAS)}."),
    ] = None,
) -> None:
    """Create a key. It is shown only once."""
    fields = {
        "id": "",
        "tenant": tenant,
        "name": name,
        "priorities": priority or ["default", "low"],
        "max_open_jobs": max_open_jobs,
        "requests_per_minute": requests_per_minute,
        "scopes": scope or list(SCOPES),
    }
    with report_errors():
        settings, store = _open(state)
        try:
            draft = ApiKey.from_input({**fields, **_quotas(quota or [])})
        except ValueError as error:
            raise CommandError(str(error)) from error
        key, token = _call(settings, lambda: store.create(draft))
        _show(key, token)
        secret = _call(settings, lambda: WebhookSecrets(ObjectStore(settings), settings).reveal_first(tenant))
    if secret:
        write_stdout(f"webhook secret of {tenant}, shown only now: {secret}")


@keys.command("list")
def list_keys(state: State = DEFAULT_STATE, as_json: JsonLines = False) -> None:
    """List all keys, without their secret values."""
    with report_errors():
        settings, store = _open(state)
        found = list(_call(settings, store.all))
    if as_json:
        for key in found:
            write_json(_document(key))
        return
    table = new_table("id", "tenant", "name", "priorities", "open jobs", "per minute", "created", "expires")
    for key in found:
        limits = (str(limit or "default") for limit in (key.max_open_jobs, key.requests_per_minute))
        times = (_minute(moment) for moment in (key.created_ms, key.expires_ms))
        table.add_row(key.id, key.tenant, key.name, " ".join(key.priorities), *limits, *times)
    print_table(table)


@keys.command()
def revoke(key_id: str, state: State = DEFAULT_STATE) -> None:
    """End a key now."""
    with report_errors():
        settings, store = _open(state)
        if not _call(settings, lambda: store.revoke(key_id)):
            raise CommandError(f"There is no key {key_id}.")
    stderr.print(f"{key_id} is revoked")


@keys.command()
def rotate(key_id: str, state: State = DEFAULT_STATE) -> None:
    """Create a key with the same permissions; the old key works for another day."""
    with report_errors():
        settings, store = _open(state)
        found = _call(settings, lambda: store.rotate(key_id))
        if found is None:
            raise CommandError(f"There is no key {key_id}.")
    _show(*found)
    stderr.print(f"{key_id} expires in 24 hours")


@keys.command("webhook-secret")
def webhook_secret(
    state: State = DEFAULT_STATE,
    tenant: Annotated[str, typer.Option(help="Without API keys there is one tenant, default.")] = ANONYMOUS.tenant,
) -> None:
    """Print a tenant's current webhook secret, for a receiver."""
    with report_errors():
        if not TENANT.fullmatch(tenant):
            raise CommandError(f"The tenant {tenant!r} is not valid: 1 to 40 characters of a-z, 0-9, - and _.")
        settings = installed_settings(state)
        write_stdout(_call(settings, lambda: WebhookSecrets(ObjectStore(settings), settings).current(tenant)))


def _open(state: Path) -> tuple[Settings, ApiKeyStore]:
    settings = installed_settings(state)
    return settings, ApiKeyStore(connect_redis(settings), ObjectStore(settings))


def _call(settings: Settings, call: Callable[[], T]) -> T:
    try:
        return call()
    except Unavailable as error:
        raise CommandError(
            f"{error.message} Redis and {settings.s3_endpoint} must answer. If nothing runs, `thinkqueue up` starts "
            "it; `thinkqueue doctor` shows more."
        ) from error
    except ThinkqueueError as error:
        raise CommandError(error.message) from error


def _quotas(given: list[str]) -> dict[str, float]:
    """Parse options such as ``tokens_per_day=1000000``. Raises ValueError."""
    found = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in QUOTAS:
            raise ValueError(f"--quota {text!r} must be NAME=NUMBER with one of {', '.join(QUOTAS)}")
        try:
            found[name] = int(value) if value.isdecimal() else float(value)
        except ValueError:
            raise ValueError(f"--quota {text!r}: {value!r} is not a number") from None
    return found


def _show(key: ApiKey, token: str) -> None:
    write_stdout(f"{key.id}  tenant {key.tenant}  priorities {' '.join(key.priorities)}  scopes {' '.join(key.scopes)}")
    write_stdout(f"key, shown only now: {token}")


def _document(key: ApiKey) -> dict[str, Any]:
    """Return a key as JSON; null for no limit of its own and for no end."""
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "priorities": list(key.priorities),
        "max_open_jobs": key.max_open_jobs or None,
        "requests_per_minute": key.requests_per_minute or None,
        "scopes": list(key.scopes),
        **{name: getattr(key, name) or None for name in QUOTAS},
        "created_at": format_time(key.created_ms),
        "expires_at": format_time_if_set(key.expires_ms),
    }


def _minute(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M") if moment_ms else "never"
