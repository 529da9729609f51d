"""What the worker sends to the fork server: a function to run in the sandbox, and its limits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_BYTES = 10
"""The fork server's reply when a decoder starts: its process id, with leading zeros, and a pidfd."""


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    function: Callable[..., Any]
    """A function of a module. It returns something that JSON can represent."""
    arguments: tuple[Any, ...]
    readable: tuple[Path, ...]
    """Files that it may read, besides the system's programs."""
    writable: Path
    """The only folder in which it may read, write and create files."""
    timeout_s: float
    memory_bytes: int
    """Address space of each of its processes."""
    starts_programs: bool
    """It starts LibreOffice, and may therefore start processes and programs."""
    has_low_priority: bool
    """Run at the lowest priority from the beginning."""
    is_confined: bool
    """False: only time and memory are limited."""
    max_landlock_abi: int
    """Use no newer version of the Landlock ABI; tests simulate an older kernel with it."""
