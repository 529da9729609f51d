"""The state folder, ``.thinkqueue/``: its secrets, data and logs, and the settings of what runs from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from cli.errors import CommandError
from cli.local import run_lock
from cli.local.run_lock import RunningService
from cli.local.secret_values import JWT_NAMES, generate_secrets
from cli.local.servers import HIGHEST_S3_PORT, SeaweedFS, Server, Valkey

LOOPBACK = "127.0.0.0/8,::1/128"
PORT_SETTINGS = ("EMBEDDED_REDIS_PORT", "EMBEDDED_S3_PORT")


@dataclass(frozen=True)
class Installation:
    folder: Path

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def create(self) -> None:
        """Create the folder and its secrets, unless they exist."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self.logs.mkdir(exist_ok=True)
        path = self.folder / "env"
        if path.exists():
            return
        draft = self.folder / "env.draft"
        draft.touch(mode=0o600)
        draft.write_text("".join(f"{name}={value}\n" for name, value in generate_secrets().items()), "utf-8")
        draft.rename(path)

    def running(self) -> RunningService | None:
        return run_lock.find(self.folder)

    def values(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the installation's settings: the folder's secrets, then what a running service was started with,
        then the environment; later ones win.
        """
        stored = {name: value for name, value in dotenv_values(self.folder / "env").items() if value}
        running = self.running()
        return {**stored, **(running.settings if running else {}), **environment}

    def servers(self, values: Mapping[str, str]) -> list[Server]:
        """Return the servers to start: those for which no external address is set.

        Raises:
            CommandError: a port is not valid.
        """
        servers: list[Server] = []
        if "REDIS_URL" not in values:
            port = _port(values, "EMBEDDED_REDIS_PORT", 8801, highest=65_535)
            servers.append(Valkey(self.folder / "valkey", port, values["REDIS_PASSWORD"]))
        if "S3_ENDPOINT" not in values:
            keys = tuple(values[name] for name in JWT_NAMES)
            servers.append(
                SeaweedFS(
                    self.folder / "seaweedfs",
                    _port(values, "EMBEDDED_S3_PORT", 8802, highest=HIGHEST_S3_PORT),
                    values["S3_ACCESS_KEY"],
                    values["S3_SECRET_KEY"],
                    (keys[0], keys[1], keys[2], keys[3]),
                )
            )
        return servers

    def environment(self, values: Mapping[str, str], servers: list[Server]) -> dict[str, str]:
        """Return the environment of every process of this installation."""
        # Client and service share this machine, so webhooks to loopback addresses are allowed.
        environment = {"EGRESS_ALLOW": LOOPBACK, "LOG_FORMAT": "json", **values}
        for server in servers:
            environment.update(server.environment())
            if isinstance(server, Valkey):
                environment["REDIS_URL"] = server.url
            elif isinstance(server, SeaweedFS):
                environment["S3_ENDPOINT"] = server.endpoint
        return environment


def _port(values: Mapping[str, str], name: str, default: int, *, highest: int) -> int:
    value = values.get(name) or str(default)
    if not value.isdecimal() or not 1 <= int(value) <= highest:
        raise CommandError(f"{name}={value!r} is not a port from 1 to {highest:,}.")
    return int(value)
