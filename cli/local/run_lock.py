"""The lock of the state folder: which `thinkqueue up` runs from it, at which address, with which settings."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cli.errors import AlreadyRunning

LOCK = "lock"


@dataclass(frozen=True)
class RunningService:
    """What the lock file records about the process that holds it."""

    pid: int
    url: str
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings from the environment of `thinkqueue up`, such as ports; no secrets."""
    secrets: tuple[str, ...] = ()
    """Names of the secret settings that it also took from its environment, and that other commands need too."""


@contextmanager
def hold(folder: Path, service: RunningService) -> Iterator[None]:
    """Lock the folder inside the block. The kernel releases the lock however the process ends.

    Raises:
        AlreadyRunning: another process holds the lock.
    """
    path = folder / LOCK
    path.touch(mode=0o600)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = find(folder)
            raise AlreadyRunning(other.pid if other else 0, other.url if other else service.url) from None
        file.truncate(0)
        file.write(json.dumps(asdict(service)))
        file.flush()
        yield


def find(folder: Path) -> RunningService | None:
    """Return the service that runs from this folder; None if none does."""
    try:
        file = (folder / LOCK).open("r+")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fields = json.loads(file.read() or "{}")
            secrets = tuple(fields.get("secrets", ()))
            return RunningService(fields.get("pid", 0), fields.get("url", ""), fields.get("settings", {}), secrets)
        return None
