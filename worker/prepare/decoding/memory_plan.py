"""Divides a prepare worker's memory between its decoders, so that hostile files cannot exceed its limit together.

Every decoder may use ``BASE_BYTES``. One that needs more is paused at that size until it has one of the few large
shares (decoder_pool.py, sandbox/client.py). The kernel limits each to its large share.
"""

from dataclasses import dataclass

from runtime.process.cgroup import available_cpus, machine_memory_bytes, memory_limit_bytes
from runtime.settings import Settings

MIB = 2**20
WORKER_BYTES = 512 * MIB
"""Of the worker and its fork server, which had 130 and 70 MiB with 32 jobs."""
BASE_BYTES = 512 * MIB
"""What every decoder may use. A photo of 24 million pixels needs about 250 MiB, a page or a frame less than 150."""
OVERSHOOT_BYTES = 128 * MIB
"""How much a decoder may grow between two looks at it: at 4 GiB/s, 80 MiB in 20 ms."""
MACHINE_SHARE = 0.5
"""Of a machine's memory, where no limit is set: other processes run there too."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    decoders: int
    """Decoders that one tenant may have."""
    reserve: int
    """Further ones for tenants that have none."""
    large_decoders: int
    """Decoders that may have ``large_bytes`` at the same time."""
    large_bytes: int


def plan_memory(settings: Settings) -> MemoryPlan:
    """Return the plan for this process's CPUs and memory, or what the settings say instead."""
    memory_bytes = settings.prepare_memory_bytes or _usable_memory_bytes()
    cpus = max(2, available_cpus())
    return divide_memory(memory_bytes, decoders=settings.decoders, cpus=cpus, large_bytes=settings.decode_memory_bytes)


def divide_memory(memory_bytes: int, *, decoders: int | None, cpus: int, large_bytes: int) -> MemoryPlan:
    """Divide memory: all decoders at their base size, and the rest for large ones, at least one.

    Args:
        memory_bytes: of the worker and all that it starts.
        decoders: how many, whatever the memory; None: one per CPU, fewer if the memory does not hold them.
        cpus: how many CPUs there are.
        large_bytes: the most that one decoder may use. Less memory makes it smaller.
    """
    free = memory_bytes - WORKER_BYTES
    base = BASE_BYTES + OVERSHOOT_BYTES
    for count in [decoders] if decoders else range(cpus, 0, -1):
        reserve = max(1, count // 2)
        left = free - (count + reserve) * base
        more = large_bytes - base
        if more <= 0:
            return MemoryPlan(count, reserve, count + reserve, large_bytes)
        if left >= more:
            return MemoryPlan(count, reserve, min(left // more, count + reserve), large_bytes)
    return MemoryPlan(count, reserve, 1, max(left, 0) + base)


def _usable_memory_bytes() -> int:
    machine, limit = machine_memory_bytes(), memory_limit_bytes()
    return limit if limit < machine else int(machine * MACHINE_SHARE)
