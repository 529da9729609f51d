"""Reads how many CPUs and how much memory this process may use: limits of its control group, of version 1 or 2.

A container or a systemd unit has a share of its machine; ``os.cpu_count`` and the machine's memory do not show it.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
V1_UNLIMITED = 2**60
"""Version 1 writes a number close to 2^63 where there is no limit."""


def available_cpus(root: Path = CGROUP_ROOT, groups: Path = OWN_GROUPS) -> int:
    """Return the CPUs that this process may use, rounded up, at least 1.

    The smallest of the CPUs of its affinity mask and the quotas (``cpu.max``, ``cpu.cfs_quota_us``) of its control
    group and the groups around it. A Kubernetes pod has a quota only if it has a CPU limit.

    Args:
        root: where the control groups are mounted.
        groups: names the groups of this process, as ``/proc/self/cgroup`` does.
    """
    quotas = [quota for folder in _folders(root, groups, "cpu") if (quota := _cpu_quota(folder)) is not None]
    return max(1, math.ceil(min([*quotas, len(os.sched_getaffinity(0))])))


def memory_limit_bytes(root: Path = CGROUP_ROOT, groups: Path = OWN_GROUPS) -> int:
    """Return the memory that this process may use, with those of its control group, in bytes.

    The smallest of the machine's memory and the limits (``memory.max`` and ``memory.high``,
    ``memory.limit_in_bytes``) of its control group and the groups around it.
    """
    limits = [limit for folder in _folders(root, groups, "memory") for limit in _memory_limits(folder)]
    return min([*limits, machine_memory_bytes()])


def machine_memory_bytes() -> int:
    """Return the memory of the machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _folders(root: Path, groups: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's group and the groups around it that exist, for one controller.

    A container without a cgroup namespace sees its own group at the root, and its path outside in ``groups``.
    """
    for line in _read(groups).splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0" and not controllers:
            mount = root
        elif controller in controllers.split(","):
            mount = next((root / name for name in (controllers, controller) if (root / name).is_dir()), root)
        else:
            continue
        folder = mount / path.lstrip("/")
        while folder != mount and mount in folder.parents:
            yield folder
            folder = folder.parent
        yield mount


def _cpu_quota(folder: Path) -> float | None:
    quota, period = (*_read(folder / "cpu.max").split(), "", "")[:2]
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    # "max" in version 2 and -1 in version 1 mean no limit.
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _memory_limits(folder: Path) -> Iterator[int]:
    for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
        text = _read(folder / name).strip()
        if text.isdigit() and 0 < int(text) < V1_UNLIMITED:
            yield int(text)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
