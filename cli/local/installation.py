"""The state folder, ``.thinkqueue/``: secrets made once, data, logs, and who runs it."""

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from cli.errors import AlreadyRunning, CommandError
from cli.local.servers import HIGHEST_S3_PORT, SeaweedFS, Server, Valkey

LOOPBACK = "127.0.0.0/8,::1/128"
JWT_NAMES = ("S3_JWT_KEY_1", "S3_JWT_KEY_2", "S3_JWT_KEY_3", "S3_JWT_KEY_4")


@dataclass(frozen=True)
class Installation:
    folder: Path

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def create(self) -> None:
        """Make the folder and its secrets, unless they are there."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self.logs.mkdir(exist_ok=True)
        path = self.folder / "env"
        if path.exists():
            return
        draft = self.folder / "env.draft"
        draft.touch(mode=0o600)
        draft.write_text("".join(f"{name}={value}\n" for name, value in new_secrets().items()), "utf-8")
        draft.rename(path)

    def values(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The secrets and what was set; what the environment says wins."""
        own = {name: value for name, value in dotenv_values(self.folder / "env").items() if value}
        return {**own, **environment}

    def servers(self, values: Mapping[str, str]) -> list[Server]:
        """Those that have to be started: none in whose place a real one was named.

        Raises:
            CommandError: a port is not one.
        """
        found: list[Server] = []
        if "REDIS_URL" not in values:
            port = _port(values, "EMBEDDED_REDIS_PORT", 8801, highest=65_535)
            found.append(Valkey(self.folder / "valkey", port, values["REDIS_PASSWORD"]))
        if "S3_ENDPOINT" not in values:
            keys = tuple(values[name] for name in JWT_NAMES)
            found.append(
                SeaweedFS(
                    self.folder / "seaweedfs",
                    _port(values, "EMBEDDED_S3_PORT", 8802, highest=HIGHEST_S3_PORT),
                    values["S3_ACCESS_KEY"],
                    values["S3_SECRET_KEY"],
                    (keys[0], keys[1], keys[2], keys[3]),
                )
            )
        return found

    def environment(self, values: Mapping[str, str], servers: list[Server]) -> dict[str, str]:
        """What every process of this installation is started with."""
        # Client and service share this machine, so a webhook to loopback is what a developer means.
        result = {"EGRESS_ALLOW": LOOPBACK, "LOG_FORMAT": "json", **values}
        for server in servers:
            result.update(server.environment())
            if isinstance(server, Valkey):
                result["REDIS_URL"] = server.url
            elif isinstance(server, SeaweedFS):
                result["S3_ENDPOINT"] = server.endpoint
        return result

    @contextmanager
    def lock(self, url: str) -> Iterator[None]:
        """Be the one that runs this folder; ends with the process, however that ends.

        Raises:
            AlreadyRunning
        """
        with (self.folder / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                running = self.running()
                raise running or AlreadyRunning(0, url) from None
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "url": url}))
            file.flush()
            yield

    def running(self) -> AlreadyRunning | None:
        """Who has the lock; None: nobody."""
        path = self.folder / "lock"
        if not path.exists():
            return None
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = json.loads(file.read() or "{}")
                return AlreadyRunning(holder.get("pid", 0), holder.get("url", ""))
            return None


def _port(values: Mapping[str, str], name: str, default: int, *, highest: int) -> int:
    given = values.get(name) or str(default)
    if not given.isdecimal() or not 1 <= int(given) <= highest:
        raise CommandError(f"{name}={given!r} is not a port from 1 to {highest:,}.")
    return int(given)


def new_secrets() -> dict[str, str]:
    """What an installation with servers of its own needs."""
    return {
        "REDIS_PASSWORD": secrets.token_urlsafe(24),
        "S3_ACCESS_KEY": secrets.token_hex(10),
        "S3_SECRET_KEY": secrets.token_urlsafe(30),
        "WEBHOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
        **{name: secrets.token_urlsafe(24) for name in JWT_NAMES},
    }
