"""Cuts a process off from files with Landlock (Linux 5.13), and from TCP (6.7), signals and abstract sockets (6.12).

LibreOffice renders any image of this machine that a deck links to by ``file://``, whatever its settings say, so
settings are not enough. Landlock needs no privileges and no daemon, and also applies to every process that the
restricted process starts.

Names and numbers are those of ``linux/landlock.h`` and ``linux/prctl.h``.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_ADD_RULE, SYS_LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38

ACCESS_FS_EXECUTE, ACCESS_FS_WRITE_FILE, ACCESS_FS_READ_FILE, ACCESS_FS_READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
ACCESS_FS_TRUNCATE, ACCESS_FS_IOCTL_DEV = 1 << 14, 1 << 15
READ_ACCESS = ACCESS_FS_EXECUTE | ACCESS_FS_READ_FILE | ACCESS_FS_READ_DIR
FILE_ACCESS = ACCESS_FS_EXECUTE | ACCESS_FS_WRITE_FILE | ACCESS_FS_READ_FILE | ACCESS_FS_TRUNCATE | ACCESS_FS_IOCTL_DEV
"""Rights that a rule for a file, not a folder, may contain."""
FS_ACCESS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All file rights, by the first ABI version that has them."""
ACCESS_NET_BIND_AND_CONNECT_TCP = 0b11
SCOPE_ABSTRACT_UNIX_SOCKET_AND_SIGNAL = 0b11
RULESET_ATTR_BYTES_BY_ABI = {1: 8, 4: 16, 6: 24}
"""Size of ``struct landlock_ruleset_attr``, by the first ABI version with its last field: files, network, scopes."""

SYSTEM_PATHS = (
    "/usr", "/lib", "/lib64", "/bin", "/opt/libreoffice*", "/var/lib/libreoffice", "/var/spool/libreoffice",
    "/var/cache/fontconfig", "/etc/fonts", "/etc/libreoffice", "/etc/alternatives", "/etc/ld.so.cache",
    "/etc/localtime", "/etc/locale.alias", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/filesystems", "/sys/devices/system/cpu", "/dev/urandom", "/dev/random",
)  # fmt: skip
"""What programs read in order to run. It contains no user's data."""


class _RulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


@lru_cache(maxsize=1)
def abi_version() -> int:
    """Return the version of the kernel's Landlock ABI; 0: the kernel has no Landlock."""
    return max(0, int(_libc().syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)))


def restrict_self(*, readable: Sequence[Path], writable: Path, max_abi: int = 2**31) -> None:
    """Restrict this process and its future children; this cannot be undone.

    They can read the system's programs and ``readable``, and do what they want below ``writable``.

    Args:
        max_abi: use no newer version of the ABI; tests simulate an older kernel with it.

    Raises:
        OSError: the kernel has no Landlock, or refuses a rule.
    """
    abi = min(abi_version(), max_abi)
    if abi < 1:
        raise OSError(errno.ENOSYS, "this kernel has no Landlock")
    access = _newest(FS_ACCESS_BY_ABI, abi)
    attr = _RulesetAttr(access, ACCESS_NET_BIND_AND_CONNECT_TCP, SCOPE_ABSTRACT_UNIX_SOCKET_AND_SIGNAL)
    ruleset = _syscall(
        SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(_newest(RULESET_ATTR_BYTES_BY_ABI, abi)), 0
    )
    for path in (*find_readable_paths(), *readable):
        _add_rule(ruleset, path, READ_ACCESS & access)
    _add_rule(ruleset, Path("/dev/null"), (ACCESS_FS_READ_FILE | ACCESS_FS_WRITE_FILE) & access)
    _add_rule(ruleset, writable, access)
    if _libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs cannot be set")
    _syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _newest(by_abi: dict[int, int], abi: int) -> int:
    """Return the value of the newest ABI version that is not above ``abi``."""
    return by_abi[max(since for since in by_abi if since <= abi)]


@lru_cache(maxsize=1)
def find_readable_paths() -> tuple[Path, ...]:
    """Return the system's paths and those of Python; the first call searches."""
    found = [path for pattern in SYSTEM_PATHS for path in Path("/").glob(pattern[1:])]
    return tuple(path for path in (*found, Path(sys.prefix), Path(sys.base_prefix)) if path.exists())


def _add_rule(ruleset: int, path: Path, access: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = _PathBeneathAttr(access if path.is_dir() else access & FILE_ACCESS, parent)
    _syscall(SYS_LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    os.close(parent)


def _syscall(number: int, *arguments: Any) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock system call {number} failed")
    return result


@lru_cache(maxsize=1)
def _libc() -> Any:
    return cast("Any", ctypes.CDLL(None, use_errno=True))
