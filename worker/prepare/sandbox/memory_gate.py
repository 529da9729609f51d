"""Watches a decoder's memory: pauses it where it grows beyond its share until it has more, and ends it at its limit.

An address space limit alone would not do: many decoders need little, and the sum of their limits is more than a machine
has. A lower limit would not do either: libraries skip an image inside a page, or a frame, that they cannot allocate.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from worker.prepare.media.errors import MediaError

LOOK_INTERVAL_S = 0.02
GROUP_LOOK_INTERVAL_S = 0.2
"""For a decoder with several processes, whose memory takes longer to read."""
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class MemoryShare:
    """How much memory one decoder may use."""

    base_bytes: int
    limit_bytes: int
    grow: Callable[[], None]
    """Called once when the decoder uses more than ``base_bytes``; returns when it may use ``limit_bytes``."""


class MemoryGate:
    """Enforces the share of one decoder. Used by the thread that waits for its reply.

    Args:
        share: of the decoder.
        has_programs: it may consist of several processes. Those are not paused: take the larger share before the start.
    """

    def __init__(self, share: MemoryShare, *, has_programs: bool) -> None:
        self._share = share
        self._has_programs = has_programs
        self._may_grow = not has_programs
        self._next_look_at = 0.0
        self._pid = 0
        self._process_fd = -1

    @property
    def interval_s(self) -> float:
        return GROUP_LOOK_INTERVAL_S if self._has_programs else LOOK_INTERVAL_S

    def watch(self, pid: int, process_fd: int) -> None:
        """Begin to watch a process.

        Args:
            process_fd: a pidfd; ``close`` closes it.
        """
        self._pid, self._process_fd = pid, process_fd

    def close(self) -> None:
        if self._process_fd >= 0:
            os.close(self._process_fd)
            self._process_fd = -1

    def look(self) -> float:
        """Compare the decoder's memory with its share. Returns how long the decoder was paused, in seconds.

        Raises:
            MediaError: it uses more than its limit. Also what ``grow`` raises.
        """
        now = time.monotonic()
        if self._process_fd < 0 or now < self._next_look_at:
            return 0.0
        self._next_look_at = now + self.interval_s
        if self._has_programs:
            if _group_bytes(self._pid) > self._share.limit_bytes:
                raise out_of_memory()
        elif self._may_grow and _private_bytes(PROC / str(self._pid)) > self._share.base_bytes:
            self._may_grow = False
            self._signal(signal.SIGSTOP)
            self._share.grow()
            self._signal(signal.SIGCONT)
        return time.monotonic() - now

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it has ended
            signal.pidfd_send_signal(self._process_fd, number)


def out_of_memory() -> MediaError:
    return MediaError("decode_memory", "decoding needs more memory than the service allows; send a smaller file.")


def _private_bytes(process: Path) -> int:
    """Return the memory of a process that its files do not hold; 0: it has ended."""
    with suppress(OSError, ValueError):
        lines = (process / "status").read_text(encoding="ascii", errors="replace").splitlines()
        return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
    return 0


def _group_bytes(group: int) -> int:
    """Return the memory of all processes of a process group."""
    total = 0
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may contain anything.
            fields = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[2]) == group:
                total += _private_bytes(process)
    return total
