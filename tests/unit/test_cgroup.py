"""How many CPUs and how much memory a process may use: of its container, not of the machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.process.cgroup import available_cpus, memory_limit_bytes

GIB = 2**30
CPUS = len(os.sched_getaffinity(0))
MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content + "\n")


def own_groups(folder: Path, text: str) -> Path:
    file = folder / "groups"
    file.write_text(text + "\n")
    return file


def test_version_2_limits_of_a_container_count(tmp_path: Path) -> None:
    write(tmp_path / "fs", cpu__max="100000 100000", memory__max=str(GIB))
    groups = own_groups(tmp_path, "0::/")
    assert available_cpus(tmp_path / "fs", groups) == 1
    assert memory_limit_bytes(tmp_path / "fs", groups) == GIB


def test_the_limits_of_the_groups_around_count_too(tmp_path: Path) -> None:
    """A systemd unit in a slice: the slice has the limit."""
    write(tmp_path / "fs" / "a.slice", cpu__max="50000 100000", memory__max="max", memory__high=str(GIB))
    write(tmp_path / "fs" / "a.slice" / "b.service", cpu__max="max 100000", memory__max=str(2 * GIB))
    groups = own_groups(tmp_path, "0::/a.slice/b.service")
    assert available_cpus(tmp_path / "fs", groups) == 1, "a part of a CPU is rounded up"
    assert memory_limit_bytes(tmp_path / "fs", groups) == GIB


@pytest.mark.parametrize("path", ["/", "/docker/0123456789ab"])
def test_version_1_limits_count_although_the_path_is_that_of_the_host(tmp_path: Path, path: str) -> None:
    """Docker without a cgroup namespace: the path of the host, the container's own files at the root."""
    write(tmp_path / "fs" / "cpu,cpuacct", cpu__cfs_quota_us="100000", cpu__cfs_period_us="100000")
    write(tmp_path / "fs" / "memory", memory__limit_in_bytes=str(GIB))
    groups = own_groups(tmp_path, f"4:memory:{path}\n3:cpu,cpuacct:{path}\n1:name=systemd:{path}")
    assert available_cpus(tmp_path / "fs", groups) == 1
    assert memory_limit_bytes(tmp_path / "fs", groups) == GIB


@pytest.mark.parametrize(
    "files",
    [
        {"cpu__max": "max 100000", "memory__max": "max"},
        {"cpu__cfs_quota_us": "-1", "cpu__cfs_period_us": "100000", "memory__limit_in_bytes": "9223372036854771712"},
        {"cpu__max": "", "memory__max": "what"},
        {},
    ],
)
def test_without_a_limit_the_machine_counts(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path / "fs", **files)
    groups = own_groups(tmp_path, "0::/")
    assert available_cpus(tmp_path / "fs", groups) == CPUS
    assert memory_limit_bytes(tmp_path / "fs", groups) == MACHINE
    assert available_cpus(tmp_path / "nothing", tmp_path / "nothing") == CPUS


def test_the_affinity_of_a_process_counts() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " \
        "from runtime.process.cgroup import available_cpus; print(available_cpus())"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "1"
