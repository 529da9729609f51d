"""Shuts a process off from files and network, by the kernel (Landlock, Linux 5.13; the network from 6.7 on).

LibreOffice draws any picture of this machine that a deck links by ``file://``, whatever its settings say, so
settings are not enough. Landlock needs no rights and no daemon, and holds for all that the process starts.
"""

import ctypes
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
READ = EXECUTE | READ_FILE | READ_DIR
MAKE_SOCKET, REMOVE_FILE = 1 << 9, 1 << 5
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15
"""Rights that a rule on a file, not a folder, may name."""
RIGHTS_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
ABI_WITH_NETWORK = 4
BIND_AND_CONNECT = 0b11

SYSTEM = (
    "/usr", "/lib", "/lib64", "/bin", "/opt/libreoffice*", "/var/lib/libreoffice", "/var/spool/libreoffice",
    "/var/cache/fontconfig", "/etc/fonts", "/etc/libreoffice", "/etc/alternatives", "/etc/ld.so.cache",
    "/etc/localtime", "/etc/locale.alias", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/filesystems", "/sys/devices/system/cpu", "/dev/urandom", "/dev/random",
)  # fmt: skip
"""What programs need to run; nobody's data."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


@lru_cache(maxsize=1)
def abi_version() -> int:
    """Of the kernel's Landlock; 0: it has none."""
    return max(0, int(_libc().syscall(CREATE_RULESET, None, 0, VERSION_FLAG)))


def confine(folder: Path, *, makes_sockets: bool = False) -> bool:
    """From now on this process, and what it starts, reads the system's programs, writes below ``folder`` and connects
    to nobody. False: the kernel cannot do it, and nothing has changed.

    Args:
        makes_sockets: in /tmp, where it may remove files then. LibreOffice does not start without.
    """
    if not abi_version():
        return False
    rights = max(value for since, value in RIGHTS_BY_VERSION.items() if since <= abi_version())
    ruleset = _Ruleset(rights, BIND_AND_CONNECT)
    size = ctypes.sizeof(ruleset) if abi_version() >= ABI_WITH_NETWORK else ctypes.sizeof(ctypes.c_uint64)
    handle = _call(CREATE_RULESET, ctypes.byref(ruleset), size, 0)
    for path in _readable():
        _allow(handle, path, READ & rights)
    _allow(handle, Path("/dev/null"), (READ_FILE | WRITE_FILE) & rights)
    if makes_sockets:
        _allow(handle, Path("/tmp"), MAKE_SOCKET | REMOVE_FILE)  # noqa: S108
    _allow(handle, folder, rights)
    _libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call(RESTRICT_SELF, handle, 0)
    os.close(handle)
    return True


def _readable() -> list[Path]:
    found = [path for pattern in SYSTEM for path in Path("/").glob(pattern[1:])]
    return [*found, Path(sys.prefix), Path(sys.base_prefix)]


def _allow(handle: int, path: Path, rights: int) -> None:
    if not path.exists():
        return
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = _PathBeneath(rights if path.is_dir() else rights & OF_FILES, folder)
    _call(ADD_RULE, handle, PATH_BENEATH, ctypes.byref(rule), 0)
    os.close(folder)


def _call(number: int, *arguments: Any) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock refused call {number}")
    return result


@lru_cache(maxsize=1)
def _libc() -> Any:
    return cast("Any", ctypes.CDLL(None, use_errno=True))
