"""Tests on this machine that the sandbox holds: what a decoder must not do is tried inside it."""

import os
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from worker.prepare.sandbox.client import Sandbox, SandboxFailed

TIMEOUT_S = 20.0
MEMORY_BYTES = 2**30
REMEDY = (
    "Use Linux 5.13 or newer on x86_64 or aarch64 with Landlock and seccomp, or set SANDBOX=off where another sandbox "
    "confines the whole prepare worker, or where all files come from trusted clients."
)


def check_confinement(sandbox: Sandbox) -> None:
    """Raise SandboxFailed unless a confined process is refused other files, sockets and signals."""
    with tempfile.TemporaryDirectory(prefix="thinkqueue-test-") as folder:
        secret, writable = Path(folder) / "secret", Path(folder) / "writable"
        secret.write_text("readable")
        writable.mkdir()
        try:
            succeeded = sandbox.run(
                find_escapes, secret, os.getpid(), writable=writable, timeout_s=TIMEOUT_S, memory_bytes=MEMORY_BYTES
            )
        except SandboxFailed as error:
            raise SandboxFailed(f"The sandbox for clients' files does not work here: {error}. {REMEDY}") from error
    if succeeded:
        raise SandboxFailed(f"The sandbox for clients' files does not hold here ({', '.join(succeeded)}). {REMEDY}")


def find_escapes(secret: Path, worker: int) -> list[str]:
    """Try what the sandbox refuses; returns what succeeded."""
    attempts: dict[str, Callable[[], object]] = {
        "read a file": secret.read_text,
        "open a socket": lambda: socket.socket().close(),
        "open a socket for datagrams": lambda: socket.socket(type=socket.SOCK_DGRAM).close(),
        "signal the worker": lambda: os.kill(worker, 0),
        "leave the process group": os.setsid,
    }
    succeeded = []
    for name, attempt in attempts.items():
        with suppress(PermissionError):
            attempt()
            succeeded.append(name)
    return succeeded
