"""Refuses system calls that a decoder never needs, with a seccomp filter (Linux 3.17; x86_64 and aarch64).

Landlock restricts files on every kernel that has it, but the network only since Linux 6.7 (TCP) and signals and
abstract sockets only since 6.12; it never restricts UDP, modes and times of files, or resource limits of other
processes. The filter refuses all of these on every kernel.

The filter is a list of what is refused, compiled to a BPF program (``linux/filter.h``, ``linux/seccomp.h``). A list of
what is allowed would differ by the versions of libc, Python, FFmpeg and LibreOffice. So that a list of refusals is
complete, calls that are newer than the list do not exist in the sandbox.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from worker.prepare.sandbox import syscalls

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_KILL_PROCESS, RET_ERRNO, RET_ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
LOAD_WORD, AND, JUMP_EQUAL, JUMP_ABOVE, RETURN = 0x20, 0x54, 0x15, 0x25, 0x06
NUMBER_OFFSET, ARCH_OFFSET, ARGUMENTS_OFFSET = 0, 4, 16
"""Of the fields of ``struct seccomp_data``."""
AUDIT_ARCHES = {"x86_64": (0xC000_003E, syscalls.X86_64), "aarch64": (0xC000_00B7, syscalls.AARCH64)}

CLONE_THREAD = 0x0001_0000
CLONE_NEW_NAMESPACES = 0x7E02_0080
AF_UNIX, SOCK_STREAM, SOCK_TYPE_MASK = 1, 1, 0xF
OWNER_COMMANDS = (8, 10, 15, 1024, 1026)
"""``fcntl``: F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY: they make the kernel send signals."""
OWNER_REQUESTS = (0x8901, 0x8902, 0x5412, 0x541C)
"""``ioctl``: FIOSETOWN, SIOCSPGRP; TIOCSTI and TIOCLINUX, which write to a terminal."""
PR_SET_PDEATHSIG = 1
SELF = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refuses a system call: always, or depending on one argument."""

    name: str
    argument: int | None = None
    """Position of the argument that is tested; None: the call is always refused."""
    mask: int = 0xFFFF_FFFF
    """Applied to the lower 32 bits of the argument."""
    equals: int | None = None
    """Refuse the call if the masked argument has this value."""
    differs: int | None = None
    """Refuse the call if the masked argument has another value."""
    error: int = errno.EPERM


CONDITIONAL = (
    # clone3 passes its flags in memory, which a filter cannot read; libc then uses clone.
    Refusal("clone3", error=errno.ENOSYS),
    *(Refusal("fcntl", argument=1, equals=command) for command in OWNER_COMMANDS),
    *(Refusal("ioctl", argument=1, equals=request) for request in OWNER_REQUESTS),
    *(
        Refusal(name, argument=0, differs=SELF)
        for name in ("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr")
    ),
    Refusal("move_pages", argument=0, differs=SELF),
    Refusal("prctl", argument=0, equals=PR_SET_PDEATHSIG),
)
DECODER = (
    Refusal("clone", argument=0, mask=CLONE_THREAD, differs=CLONE_THREAD),
    *(Refusal(name) for name in ("fork", "vfork", "execve", "execveat", "kill", "socket", "socketpair", "bind")),
)
"""For a decoder, which is one process with threads."""
PROGRAMS = (
    Refusal("clone", argument=0, mask=CLONE_NEW_NAMESPACES, differs=0),
    # The own process group, to which every process of the sandbox belongs: setpgid and setsid are refused.
    Refusal("kill", argument=0, differs=0),
    # LibreOffice does not start without the socket of its single instance, but it connects to nothing.
    *(Refusal(name, argument=0, differs=AF_UNIX) for name in ("socket", "socketpair")),
    *(Refusal(name, argument=1, mask=SOCK_TYPE_MASK, differs=SOCK_STREAM) for name in ("socket", "socketpair")),
    Refusal("connect", error=errno.ECONNREFUSED),
    # LibreOffice creates its socket in /tmp or /var/tmp if they are writable, and only otherwise where it is told to.
    Refusal("access", argument=1, equals=os.W_OK, error=errno.EACCES),
    Refusal("faccessat", argument=2, equals=os.W_OK, error=errno.EACCES),
    Refusal("faccessat2", argument=2, equals=os.W_OK, error=errno.EACCES),
)
"""For LibreOffice, which consists of several processes."""
ALLOWED_FOR_PROGRAMS = frozenset({"fork", "vfork", "execve", "execveat", "bind", "listen", "accept", "accept4"})


class SeccompError(OSError):
    """The kernel or the machine has no seccomp filters."""


def restrict_self(*, starts_programs: bool) -> None:
    """Install the filter for this process and all that it starts; this cannot be undone.

    Args:
        starts_programs: allow what LibreOffice needs: processes, programs, and a socket that nothing connects to.

    Raises:
        SeccompError
    """
    program = compiled_filter(starts_programs=starts_programs)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0)):
        if _libc().prctl(*arguments):
            raise SeccompError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")


@lru_cache(maxsize=2)
def compiled_filter(*, starts_programs: bool) -> bytes:
    """Return the filter as BPF instructions. Raises SeccompError on a machine of another kind."""
    if platform.machine() not in AUDIT_ARCHES:
        raise SeccompError(errno.ENOSYS, f"the sandbox has no seccomp filter for {platform.machine()}")
    arch, position = AUDIT_ARCHES[platform.machine()]
    code = [
        _instruction(LOAD_WORD, ARCH_OFFSET),
        _instruction(JUMP_EQUAL, arch, skip_if_true=1),
        _instruction(RETURN, RET_KILL_PROCESS),
        _instruction(LOAD_WORD, NUMBER_OFFSET),
        # This also covers the x32 calls of x86_64, whose numbers have bit 30.
        _instruction(JUMP_ABOVE, syscalls.NEWEST, skip_if_false=1),
        _instruction(RETURN, RET_ERRNO | errno.ENOSYS),
    ]
    for refusal in _refusals(starts_programs):
        number = syscalls.NUMBERS[refusal.name][position]
        if number is not None:
            code += _compile(refusal, number)
    code.append(_instruction(RETURN, RET_ALLOW))
    return b"".join(code)


def _refusals(starts_programs: bool) -> Iterator[Refusal]:
    conditional = (*CONDITIONAL, *(PROGRAMS if starts_programs else DECODER))
    yield from conditional
    names = syscalls.NUMBERS.keys() - {refusal.name for refusal in conditional}
    names -= ALLOWED_FOR_PROGRAMS if starts_programs else set()
    yield from (Refusal(name) for name in sorted(names))


def _compile(refusal: Refusal, number: int) -> list[bytes]:
    refuse = _instruction(RETURN, RET_ERRNO | refusal.error)
    if refusal.argument is None:
        return [_instruction(JUMP_EQUAL, number, skip_if_false=1), refuse]
    value = refusal.equals if refusal.equals is not None else refusal.differs
    assert value is not None
    is_equal = refusal.equals is not None
    test = [
        # Both machines are little-endian: the lower half of an argument comes first.
        _instruction(LOAD_WORD, ARGUMENTS_OFFSET + 8 * refusal.argument),
        _instruction(AND, refusal.mask),
        _instruction(JUMP_EQUAL, value, skip_if_false=1) if is_equal else _instruction(JUMP_EQUAL, value, 1),
        refuse,
        _instruction(LOAD_WORD, NUMBER_OFFSET),
    ]
    return [_instruction(JUMP_EQUAL, number, skip_if_false=len(test)), *test]


def _instruction(code: int, value: int, skip_if_true: int = 0, skip_if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, skip_if_true, skip_if_false, value)


@lru_cache(maxsize=1)
def _libc() -> Any:
    libc = cast("Any", ctypes.CDLL(None, use_errno=True))
    libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)
    return libc
