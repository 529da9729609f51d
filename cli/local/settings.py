"""The settings of the local installation, as its processes read them."""

import os
from collections.abc import Mapping
from pathlib import Path

import redis
from pydantic import SecretStr, ValidationError

from cli.errors import CommandError, Unreachable
from cli.local.installation import PORT_SETTINGS, Installation
from cli.local.run_lock import RunningService
from jobs.table.scripts import connect
from runtime.settings import Settings
from runtime.settings.read import describe_problems

CONNECT_TIMEOUT_S = 0.8
"""Redis is tried twice, so a command fails within two seconds when it does not answer."""
SET_SERVERS = "Run `thinkqueue up`, or set REDIS_URL, S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY and WEBHOOK_SECRET."


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Validate settings. Raises CommandError, which names each setting that is missing or wrong."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        return Settings()
    except ValidationError as error:
        raise CommandError(describe_problems(error)) from error
    finally:
        os.environ.clear()
        os.environ.update(before)


def installed_settings(state: Path) -> Settings:
    """Return the settings of the installation in this folder, or of the servers that the environment names.

    Raises:
        CommandError: there is no installation, and the environment names no servers.
    """
    installation = Installation(state.resolve())
    values = installation.values(os.environ)
    running = installation.running()
    if running and (missing := [name for name in running.secrets if name not in values]):
        raise CommandError(
            f"The service that runs from {installation.folder} was started with {', '.join(missing)} in its "
            "environment. Set the same values here."
        )
    try:
        return read_settings(installation.environment(values, installation.servers(values)))
    except KeyError as error:
        raise CommandError(f"No servers are configured: {error} is missing. {SET_SERVERS}") from error
    except CommandError as error:
        raise CommandError(f"{error}\n{SET_SERVERS}" if "Field required" in str(error) else str(error)) from error


def describe_service(url: str, environment: Mapping[str, str]) -> RunningService:
    """Describe this process for the lock file: the settings that it took from its environment; no secret values."""
    secrets = {name.upper() for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    public = {name.upper() for name in Settings.model_fields} - secrets | set(PORT_SETTINGS)
    return RunningService(
        os.getpid(),
        url,
        {name: value for name, value in environment.items() if name in public},
        tuple(sorted(secrets & environment.keys())),
    )


def connect_redis(settings: Settings) -> "redis.Redis":
    """Connect to Redis. Raises Unreachable, which names the address, if it does not answer within two seconds."""
    client = connect(settings, timeout_s=CONNECT_TIMEOUT_S)
    try:
        client.ping()
    except redis.AuthenticationError as error:
        raise CommandError(f"Redis at {redis_address(settings)} refuses the password; correct REDIS_URL.") from error
    except redis.RedisError as error:
        raise Unreachable(
            f"Redis at {redis_address(settings)} does not answer ({error}). If nothing runs, `thinkqueue up` starts "
            "it; `thinkqueue doctor` shows more."
        ) from error
    return connect(settings)


def server_addresses(settings: Settings) -> str:
    """Describe where the servers are, without secrets."""
    return f"Redis {redis_address(settings)}, object store {settings.s3_endpoint}/{settings.s3_bucket}"


def redis_address(settings: Settings) -> str:
    """Return host, port and database, without the password."""
    return settings.redis_server.location.address
