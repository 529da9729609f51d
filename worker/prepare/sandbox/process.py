"""Runs a decoder for a client's file in a child process with limits on time, memory and access.

A decoder that crashes, hangs or uses too much memory fails only its own file, at once and with an error code. Its
memory is freed with the process. The child is a fork, so it starts in milliseconds. It inherits no connections or open
files, and it reads only the job's folder and the system's programs (landlock.py). It returns its result as JSON through
a pipe and writes its output files into the job's folder.
"""

import ctypes
import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from worker.prepare.media.errors import MediaError
from worker.prepare.sandbox import landlock

PR_SET_PDEATHSIG = 1
REPLY_FD = 3
MAX_FILE_BYTES = 4 * 2**30
MAX_REPLY_BYTES = 2**20
OUT_OF_MEMORY_SHARE = 0.5
"""A child that dies with more than this share of its address space in use counts as out of memory: a decoder in C
aborts without an exception when an allocation fails."""
CPU_TIME_FACTOR = 4
"""Limit of CPU time, as a multiple of the time limit. It also covers what the decoder starts."""


def run_sandboxed(
    work: Callable[[], Any], *, folder: Path, timeout_s: float, memory_bytes: int, starts_programs: bool = False
) -> Any:
    """Run ``work`` in a restricted child process.

    Args:
        work: returns something that JSON can represent.
        folder: the only folder that it may read and write.
        timeout_s: after this time the child and everything that it started are killed.
        memory_bytes: address space of each of its processes.
        starts_programs: allow what LibreOffice needs (see landlock.restrict_self).

    Returns:
        What ``work`` returns.

    Raises:
        MediaError: raised by ``work``; or ``decode_timeout``, ``decode_memory``, ``decode_crashed``.
    """
    reader, writer = os.pipe()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        _run_child(work, lambda: _restrict_child(parent, writer, folder, timeout_s, memory_bytes, starts_programs))
    os.close(writer)
    try:
        reply = _read_reply(reader, time.monotonic() + timeout_s)
    except TimeoutError:
        message = f"decoding took longer than the limit of {timeout_s:.0f} s; send a simpler file."
        raise MediaError("decode_timeout", message) from None
    finally:
        os.close(reader)
        # The child has not been waited for, so its pid is still its own. It gets a signal of its own as well: it may
        # not lead its process group yet.
        os.kill(child, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
    ran_out_of_memory = used.ru_maxrss * 1024 > OUT_OF_MEMORY_SHARE * memory_bytes
    return _parse_reply(reply, status, ran_out_of_memory=ran_out_of_memory)


def _parse_reply(reply: bytes, status: int, *, ran_out_of_memory: bool) -> Any:
    try:
        message = json.loads(reply)
    except ValueError:
        if ran_out_of_memory:
            raise _out_of_memory() from None
        how = f"with signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "without a result"
        text = f"the decoder ended {how}; save the file again with another program and send the new one."
        raise MediaError("decode_crashed", text) from None
    if "error" in message:
        raise MediaError(*message["error"])
    return message["result"]


def _read_reply(reader: int, deadline: float) -> bytes:
    reply = bytearray()
    while len(reply) <= MAX_REPLY_BYTES:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([reader], [], [], left_s)[0]:
            raise TimeoutError
        if not (piece := os.read(reader, 65_536)):
            break
        reply += piece
    return bytes(reply)


def _run_child(work: Callable[[], Any], restrict: Callable[[], None]) -> NoReturn:
    """Run in the forked child; it never returns to the caller's code."""
    try:
        restrict()
        message = {"result": work()}
    except MediaError as error:
        message = _error_message(error)
    except MemoryError:
        message = _error_message(_out_of_memory())
    except BaseException as error:  # noqa: BLE001 - a decoder of a broken file may raise any exception
        text = f"the decoder failed ({type(error).__name__}: {str(error)[:200]}); the file may be damaged."
        message = _error_message(MediaError("decode_crashed", text))
    with suppress(BaseException), open(REPLY_FD, "wb", closefd=False) as reply:
        reply.write(json.dumps(message).encode())
    os._exit(0)


def _error_message(error: MediaError) -> dict[str, Any]:
    return {"error": [error.code, error.message]}


def _out_of_memory() -> MediaError:
    return MediaError("decode_memory", "decoding needs more memory than the service allows; send a smaller file.")


def _restrict_child(
    parent: int, writer: int, folder: Path, timeout_s: float, memory_bytes: int, starts_programs: bool
) -> None:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    _die_with_parent(parent, starts_programs)
    os.dup2(writer, REPLY_FD)
    os.closerange(REPLY_FD + 1, 65_536)
    landlock.restrict_self(folder, allow_sockets=starts_programs)
    cpu_s = int(timeout_s * CPU_TIME_FACTOR) + 1
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))


def _die_with_parent(parent: int, starts_programs: bool) -> None:
    """Make the kernel end this process when the worker is killed.

    The kernel signals only this process. One that starts programs therefore kills its process group in a signal
    handler: it only waits for the program, so it can run one. A decoder in C cannot run a handler; it starts nothing,
    and SIGKILL ends it.
    """
    death_signal = signal.SIGKILL
    if starts_programs:
        death_signal = signal.SIGTERM
        signal.signal(death_signal, lambda *_: os.killpg(0, signal.SIGKILL))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        os._exit(1)
