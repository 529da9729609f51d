"""Functions that tests run in the sandbox: harmless ones, and attacks that must fail."""

import ctypes
import errno
import fcntl
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.prepare.media.errors import MediaError

SYSCALLS = {
    "x86_64": {
        "tgkill": 234, "process_vm_readv": 310, "ptrace": 101, "keyctl": 250, "shmget": 29, "io_uring_setup": 425,
        "unshare": 272, "mq_open": 240, "userfaultfd": 323, "pidfd_open": 434, "prctl": 157, "bpf": 321, "clone3": 435,
    },
    "aarch64": {
        "tgkill": 131, "process_vm_readv": 270, "ptrace": 117, "keyctl": 219, "shmget": 194, "io_uring_setup": 425,
        "unshare": 97, "mq_open": 180, "userfaultfd": 282, "pidfd_open": 434, "prctl": 167, "bpf": 280, "clone3": 435,
    },
}[platform.machine()]  # fmt: skip
X32_SOCKET = 0x4000_0000 + 41
FUTURE_SYSCALL = 600
NEW_USER_NAMESPACE = 0x1000_0000


@dataclass(frozen=True)
class Targets:
    """What the attacks are aimed at; each belongs to the test."""

    folder: Path
    """A folder of another job, with the file ``secret``."""
    own: Path
    """The folder of the attacker."""
    sibling: int
    """A process of the same user."""
    tcp_port: int
    udp_port: int
    abstract: str
    unix: Path
    """The path of a socket that accepts connections."""


# ── attacks ──


def find_successful_attacks(targets: Targets) -> list[str]:
    """Try everything; returns the names of what was not refused."""
    return [name for name, attack in attacks(targets).items() if not _is_refused(attack)]


def _is_refused(attack: Callable[[], Any]) -> bool:
    try:
        attack()
    except OSError as error:
        return error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ECONNREFUSED, errno.EXDEV)
    except subprocess.SubprocessError:
        return True
    return False


def attacks(targets: Targets) -> dict[str, Callable[[], Any]]:
    secret, sibling = targets.folder / "secret", targets.sibling
    return {
        "read a file": secret.read_text,
        "write a file": lambda: secret.write_text("changed"),
        "create a file": lambda: (targets.folder / "new").touch(),
        "list a folder": lambda: os.listdir(targets.folder),
        "delete a file": secret.unlink,
        "delete a socket": targets.unix.unlink,
        "truncate a file": lambda: os.truncate(secret, 0),
        "change a mode": lambda: secret.chmod(0),
        "change a time": lambda: os.utime(secret, (0, 0)),
        "change an attribute": lambda: os.setxattr(secret, "user.attack", b"x"),
        "move a file": lambda: secret.rename(targets.own / "stolen"),
        "link a file": lambda: os.link(secret, targets.own / "linked"),
        "read through a symlink": lambda: _read_through_symlink(secret, targets.own),
        "read the environment of the worker": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "connect by TCP": lambda: socket.create_connection(("127.0.0.1", targets.tcp_port), timeout=2).close(),
        "send by UDP": lambda: _send(targets.udp_port),
        "connect to an abstract socket": lambda: _connect("\0" + targets.abstract),
        "connect to a socket in the file system": lambda: _connect(str(targets.unix)),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)).close(),
        "signal a sibling": lambda: os.kill(sibling, signal.SIGKILL),
        "signal the fork server": lambda: os.kill(os.getppid(), 0),
        "signal all processes": lambda: os.kill(-1, 0),
        "signal a thread of a sibling": lambda: _call("tgkill", sibling, sibling, signal.SIGKILL),
        "signal by a file": lambda: _own_a_file(sibling),
        "open a sibling": lambda: _call("pidfd_open", sibling, 0),
        "trace a sibling": lambda: _call("ptrace", 16, sibling, 0, 0),
        "read the memory of a sibling": lambda: _call("process_vm_readv", sibling, 0, 0, 0, 0, 0),
        "limit a sibling": lambda: resource.prlimit(sibling, resource.RLIMIT_CPU, (0, 0)),
        "slow a sibling": lambda: os.setpriority(os.PRIO_PROCESS, sibling, 19),
        "move a sibling to a core": lambda: os.sched_setaffinity(sibling, {0}),
        "start a session": os.setsid,
        "leave the process group": lambda: os.setpgid(0, os.getpgid(os.getppid())),
        "outlive the fork server": lambda: _call("prctl", 1, 0, 0, 0, 0),
        "create a user namespace": lambda: _call("unshare", NEW_USER_NAMESPACE),
        "use io_uring": lambda: _call("io_uring_setup", 1, ctypes.create_string_buffer(120)),
        "use the keyring": lambda: _call("keyctl", 0, -3, 0),
        "share memory": lambda: _call("shmget", 4711, 4096, 0o1666),
        "open a message queue": lambda: _call("mq_open", b"attack", os.O_CREAT | os.O_RDWR, 0o600, None),
        "handle page faults": lambda: _call("userfaultfd", 0),
        "load BPF": lambda: _call("bpf", 0, ctypes.create_string_buffer(120), 120),
        "start a process by clone3": lambda: _call("clone3", ctypes.create_string_buffer(88), 88),
        "call what this kernel may have some day": lambda: _call_number(FUTURE_SYSCALL),
        "use the calls of another word size": lambda: _call_number(X32_SOCKET, 2, 1, 0),
    }


def find_started_processes(folder: Path) -> list[str]:
    """Try to start processes and programs; returns what was not refused."""
    return [
        name
        for name, attack in {
            "fork": lambda: os.fork() or os._exit(0),
            "start a program": lambda: subprocess.run(["true"], cwd=folder, check=True),
            "become a program": lambda: os.execv("/bin/true", ["true"]),
        }.items()
        if not _is_refused(attack)
    ]


def _read_through_symlink(secret: Path, own: Path) -> str:
    link = own / "link"
    link.symlink_to(secret)
    return link.read_text()


def _send(port: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", port))


def _connect(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)


def _own_a_file(pid: int) -> None:
    reader, _ = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, pid)


def _call(name: str, *arguments: Any) -> None:
    _call_number(SYSCALLS[name], *arguments)


def _call_number(number: int, *arguments: Any) -> None:
    if ctypes.CDLL(None, use_errno=True).syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


# ── results and errors ──


def describe() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "environment": dict(os.environ),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "files": _open_files(),
        "capabilities": Path("/proc/self/status").exists(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
    }


def _open_files() -> list[int]:
    found = []
    for number in range(1_024):
        with suppress(OSError):
            os.fstat(number)
            found.append(number)
    return found


def refuse() -> None:
    raise MediaError("image_aspect", "it is too long.")


def crash(how: str) -> None:
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "abort":
        os.abort()
    elif how == "exit":
        os._exit(3)
    elif how == "forged":
        os.write(3, struct.pack(">I", 7) + b"not JSON")
        os._exit(0)
    raise ZeroDivisionError(how)


def allocate(count: int) -> int:
    return len(bytearray(count))


def use_memory_and_abort() -> None:
    blocks = [b"x" * 2**24 for _ in range(20)]
    os.abort()
    blocks.clear()


def sleep(marker: Path | None = None) -> None:
    if marker:
        marker.touch()
    time.sleep(300)


def write_note(folder: Path) -> str:
    (folder / "out").write_text("mine")
    print("to the log of the worker")
    return (folder / "out").read_text()


def run_script(script: str, folder: Path) -> int:
    return subprocess.run(["sh", "-c", script], cwd=folder, check=False, stdout=subprocess.DEVNULL).returncode
