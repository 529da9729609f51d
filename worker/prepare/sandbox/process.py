"""Opens strangers' files in a process of its own, with bounds on its time and memory.

A decoder that crashes, loops or swells costs one medium, at once and with a code, and leaves its memory to nobody. The
process is a fork, so it starts in milliseconds; it has neither connections nor anything else that its parent has open,
and sees no files but the job's and the system's programs (landlock.py). What it finds out comes back as JSON; what it
makes, it writes into the job's folder.
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
MAX_FILE_BYTES = 4 * 2**30
MAX_REPLY_BYTES = 2**20
MOST = 0.5
"""Of its address space: a decoder in C that aborts with so much in use had no more to take."""
CPUS = 4
"""Processor time is bounded, too, for what a decoder starts: so many times the time limit."""


def run_sandboxed(
    work: Callable[[], Any], *, folder: Path, timeout_s: float, memory_bytes: int, starts_programs: bool = False
) -> Any:
    """Do ``work`` in a process of its own; returns what it returns, which must be JSON.

    Args:
        folder: where it may read and write.
        timeout_s: then the process, and all that it has started, is killed.
        memory_bytes: address space, for each of its processes.
        starts_programs: LibreOffice, that is, with the sockets that it needs (see landlock.confine).

    Raises:
        MediaError: as ``work`` raised it; or ``decode_timeout``, ``decode_memory``, ``decode_crashed``.
    """
    reader, writer = os.pipe()
    parent, process = os.getpid(), os.fork()
    if process == 0:
        _work(work, lambda: _confine(parent, writer, folder, timeout_s, memory_bytes, starts_programs))
    os.close(writer)
    try:
        reply = _read(reader, time.monotonic() + timeout_s)
    except TimeoutError:
        raise MediaError(
            "decode_timeout", f"it was not decoded within {timeout_s:.0f} s; send a simpler one."
        ) from None
    finally:
        os.close(reader)
        # Before it is waited for, so the number is still its own; by itself, too: it may not have its group yet.
        os.kill(process, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        _, status, used = os.wait4(process, 0)
    return _outcome(reply, status, ran_out=used.ru_maxrss * 1024 > MOST * memory_bytes)


def _outcome(reply: bytes, status: int, *, ran_out: bool) -> Any:
    try:
        answer = json.loads(reply)
    except ValueError:
        if ran_out:
            raise _out_of_memory() from None
        how = f"by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "without a word"
        message = f"the decoder ended {how}; save the file anew with another program."
        raise MediaError("decode_crashed", message) from None
    if "refused" in answer:
        raise MediaError(*answer["refused"])
    return answer["done"]


def _read(reader: int, give_up: float) -> bytes:
    reply = bytearray()
    while len(reply) <= MAX_REPLY_BYTES:
        left = give_up - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            raise TimeoutError
        if not (piece := os.read(reader, 65_536)):
            break
        reply += piece
    return bytes(reply)


def _work(work: Callable[[], Any], confine: Callable[[], None]) -> NoReturn:
    """The process that ``run`` forks: never returns, whatever happens."""
    try:
        confine()
        answer = {"done": work()}
    except MediaError as error:
        answer = _refusal(error)
    except MemoryError:
        answer = _refusal(_out_of_memory())
    except BaseException as error:  # noqa: BLE001 - decoders of broken files raise anything
        message = f"the decoder failed ({type(error).__name__}: {str(error)[:200]})."
        answer = _refusal(MediaError("decode_crashed", message))
    with suppress(BaseException), open(3, "wb", closefd=False) as reply:
        reply.write(json.dumps(answer).encode())
    os._exit(0)


def _refusal(error: MediaError) -> dict[str, Any]:
    return {"refused": [error.code, error.message]}


def _out_of_memory() -> MediaError:
    return MediaError("decode_memory", "decoding it takes more memory than the service gives; scale it down.")


def _confine(
    parent: int, writer: int, folder: Path, timeout_s: float, memory_bytes: int, starts_programs: bool
) -> None:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    _die_with(parent, starts_programs)
    os.dup2(writer, 3)
    os.closerange(4, 65_536)
    landlock.confine(folder, makes_sockets=starts_programs)
    seconds = int(timeout_s * CPUS) + 1
    for kind, bound in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (bound, bound))


def _die_with(parent: int, starts_programs: bool) -> None:
    """Leave nothing running when the worker is killed.

    The kernel tells only this process of it, so it ends its group by itself: it has nothing to do but wait for the
    program then. A decoder in C would not hear a handler; it starts nothing and is killed outright.
    """
    told = signal.SIGKILL
    if starts_programs:
        told = signal.SIGTERM
        signal.signal(told, lambda *_: os.killpg(0, signal.SIGKILL))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, told)
    if os.getppid() != parent:
        os._exit(1)
