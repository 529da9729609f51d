"""Cuts a process off from files and the network with Landlock (Linux 5.13; the network since Linux 6.7).

LibreOffice renders any image of this machine that a deck links to by ``file://``, whatever its settings say, so
settings are not enough. Landlock needs no privileges and no daemon, and also applies to every process that the
restricted process starts.

Names and numbers are those of ``linux/landlock.h`` and ``linux/prctl.h``.
"""

import ctypes
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_ADD_RULE, SYS_LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38

ACCESS_FS_EXECUTE, ACCESS_FS_WRITE_FILE, ACCESS_FS_READ_FILE, ACCESS_FS_READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
ACCESS_FS_REMOVE_FILE, ACCESS_FS_MAKE_SOCK = 1 << 5, 1 << 9
ACCESS_FS_TRUNCATE, ACCESS_FS_IOCTL_DEV = 1 << 14, 1 << 15
READ_ACCESS = ACCESS_FS_EXECUTE | ACCESS_FS_READ_FILE | ACCESS_FS_READ_DIR
FILE_ACCESS = ACCESS_FS_EXECUTE | ACCESS_FS_WRITE_FILE | ACCESS_FS_READ_FILE | ACCESS_FS_TRUNCATE | ACCESS_FS_IOCTL_DEV
"""Rights that a rule for a file, not a folder, may contain."""
FS_ACCESS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All file rights, by the first ABI version that has them."""
ABI_WITH_NETWORK = 4
ACCESS_NET_BIND_AND_CONNECT_TCP = 0b11

SYSTEM_PATHS = (
    "/usr", "/lib", "/lib64", "/bin", "/opt/libreoffice*", "/var/lib/libreoffice", "/var/spool/libreoffice",
    "/var/cache/fontconfig", "/etc/fonts", "/etc/libreoffice", "/etc/alternatives", "/etc/ld.so.cache",
    "/etc/localtime", "/etc/locale.alias", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/filesystems", "/sys/devices/system/cpu", "/dev/urandom", "/dev/random",
)  # fmt: skip
"""What programs read in order to run. It contains no user's data."""


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64), ("handled_access_net", ctypes.c_uint64))


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


@lru_cache(maxsize=1)
def abi_version() -> int:
    """Return the version of the kernel's Landlock ABI; 0: the kernel has no Landlock."""
    return max(0, int(_libc().syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)))


def restrict_self(folder: Path, *, allow_sockets: bool = False) -> bool:
    """Restrict this process and its future children; this cannot be undone.

    They can read the system's programs, read and write below ``folder``, and connect to nothing.

    Args:
        folder: the only folder with full access.
        allow_sockets: allow creating sockets and removing files in /tmp. LibreOffice does not start without it.

    Returns:
        False: the kernel has no Landlock, and nothing has changed.
    """
    abi = abi_version()
    if not abi:
        return False
    access = max(value for since, value in FS_ACCESS_BY_ABI.items() if since <= abi)
    attr = _RulesetAttr(access, ACCESS_NET_BIND_AND_CONNECT_TCP)
    size = ctypes.sizeof(attr) if abi >= ABI_WITH_NETWORK else ctypes.sizeof(ctypes.c_uint64)
    ruleset = _syscall(SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(attr), size, 0)
    for path in _readable_paths():
        _add_rule(ruleset, path, READ_ACCESS & access)
    _add_rule(ruleset, Path("/dev/null"), (ACCESS_FS_READ_FILE | ACCESS_FS_WRITE_FILE) & access)
    if allow_sockets:
        _add_rule(ruleset, Path("/tmp"), ACCESS_FS_MAKE_SOCK | ACCESS_FS_REMOVE_FILE)  # noqa: S108
    _add_rule(ruleset, folder, access)
    _libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return True


def _readable_paths() -> list[Path]:
    found = [path for pattern in SYSTEM_PATHS for path in Path("/").glob(pattern[1:])]
    return [*found, Path(sys.prefix), Path(sys.base_prefix)]


def _add_rule(ruleset: int, path: Path, access: int) -> None:
    if not path.exists():
        return
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
