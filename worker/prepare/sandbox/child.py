"""Runs one function in a process that the fork server has forked: confines it, then returns its result as JSON."""

import ctypes
import json
import os
import resource
import signal
from contextlib import suppress
from typing import Any, NoReturn

from worker.prepare.media.errors import MediaError
from worker.prepare.sandbox import landlock, seccomp
from worker.prepare.sandbox.memory_gate import out_of_memory
from worker.prepare.sandbox.request import SandboxRequest

PR_SET_PDEATHSIG = 1
CAPABILITY_VERSION_3 = 0x2008_0522
REPLY_FD = 3
MAX_FILE_BYTES = 2**30
"""Of one output file. The frames of a video and a converted presentation have less than 200 MB."""
MAX_PROCESSES = 4_096
"""Of the worker's user, counted by the kernel, while a sandbox starts programs. LibreOffice has about 20 threads."""
CPU_TIME_FACTOR = 4
"""Limit of CPU time, as a multiple of the time limit. It also covers what the decoder starts."""
NICE = 5
"""Of a decoder, relative to the worker: the API and a generate worker on the same machine come first."""
LONG_NICE = 19
"""The lowest priority, of a decoder that runs for long."""
OOM_SCORE_ADJUSTMENT = 900
"""A machine without memory kills a decoder before anything else."""


def run_child(request: SandboxRequest, server: int, reply_fd: int) -> NoReturn:
    """Run in the forked child; it never returns to the server's code.

    Args:
        server: process id of the fork server; when it dies, the child is killed.
        reply_fd: where the result is written.
    """
    try:
        _detach(request, server, reply_fd)
        _limit(request)
        if request.is_confined:
            _confine(request)
    except BaseException as error:  # noqa: BLE001 - whatever failed, the function must not run unconfined
        _reply({"unconfined": f"{type(error).__name__}: {error}"})
        os._exit(1)
    try:
        message = {"result": request.function(*request.arguments)}
    except MediaError as error:
        message = _error_message(error)
    except MemoryError:
        message = _error_message(out_of_memory())
    except BaseException as error:  # noqa: BLE001 - a decoder of a broken file may raise any exception
        text = f"the decoder failed ({type(error).__name__}: {str(error)[:200]}); the file may be damaged."
        message = _error_message(MediaError("decode_crashed", text))
    _reply(message)
    os._exit(0)


def _reply(message: dict[str, Any]) -> None:
    with suppress(BaseException), open(REPLY_FD, "wb", closefd=False) as reply:
        reply.write(json.dumps(message).encode())


def _error_message(error: MediaError) -> dict[str, Any]:
    return {"error": [error.code, error.message]}


def _detach(request: SandboxRequest, server: int, reply_fd: int) -> None:
    """Give up what the process has from the server: its signals, its process group and its open files."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)
    _die_with_server(server, starts_programs=request.starts_programs)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard_fd in (0, 1, 2):
        os.dup2(nothing, standard_fd)
    os.dup2(reply_fd, REPLY_FD)
    os.closerange(REPLY_FD + 1, 65_536)


def _die_with_server(server: int, *, starts_programs: bool) -> None:
    """Make the kernel end this process when the server is killed.

    The kernel signals only this process. One that starts programs therefore kills its process group in a signal
    handler: it only waits for the program, so it can run one. A decoder in C cannot run a handler; it starts nothing,
    and SIGKILL ends it.
    """
    death_signal = signal.SIGTERM if starts_programs else signal.SIGKILL
    if starts_programs:
        signal.signal(death_signal, lambda *_: os.kill(0, signal.SIGKILL))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != server:
        os._exit(1)


def _limit(request: SandboxRequest) -> None:
    os.nice(LONG_NICE if request.has_low_priority else NICE)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(OOM_SCORE_ADJUSTMENT))
    limits = {
        resource.RLIMIT_AS: request.memory_bytes,
        resource.RLIMIT_CPU: int(request.timeout_s * CPU_TIME_FACTOR) + 1,
        resource.RLIMIT_FSIZE: MAX_FILE_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    if request.starts_programs:
        limits[resource.RLIMIT_NPROC] = MAX_PROCESSES
    for kind, limit in limits.items():
        _, hard = resource.getrlimit(kind)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))


def _confine(request: SandboxRequest) -> None:
    landlock.restrict_self(readable=request.readable, writable=request.writable, max_abi=request.max_landlock_abi)
    _drop_capabilities()
    seccomp.restrict_self(starts_programs=request.starts_programs)


def _drop_capabilities() -> None:
    """Give up the capabilities of root, for a worker that runs as root."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    if libc.capset(header, none):
        raise OSError(ctypes.get_errno(), "the capabilities cannot be dropped")
