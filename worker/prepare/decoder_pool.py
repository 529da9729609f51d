"""Runs decoders for the jobs of all tenants: a limited number at once, shared fairly.

A tenant alone may use all decoders. Some more are kept for tenants that have none, so that a job never waits for the
files of another tenant, however long these take. A decoder that runs for long continues at the lowest priority
(sandbox/server.py), and those of a tenant that has used decoders a lot lately start at it, so that the additional one
finds a free core.
"""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from runtime.settings import Settings
from worker.prepare.fair_slots import FairSlots, reserve_for_others
from worker.prepare.preparation import Preparation
from worker.prepare.recent_use import RecentUse
from worker.prepare.sandbox.client import Sandbox


class DecoderPool:
    """Safe to share between threads."""

    def __init__(self, settings: Settings, sandbox: Sandbox) -> None:
        count = settings.decoders or max(2, os.cpu_count() or 2)
        self._slots = FairSlots(reserve_for_others(count, reserve=max(1, count // 2)))
        self._recent_use = RecentUse()
        self._memory_bytes = settings.decode_memory_bytes
        self._sandbox = sandbox

    def run(
        self,
        preparation: Preparation,
        function: Callable[..., Any],
        *arguments: Any,
        readable: Path,
        writable: Path,
        timeout_s: float,
        starts_programs: bool = False,
    ) -> Any:
        """Run a function of decoders.py in the sandbox when it is the tenant's turn.

        Args:
            readable: the file that it opens.
            writable: the folder for its outputs.
            timeout_s: limit for the function, without the time that it waits for its turn.
            starts_programs: allow what LibreOffice needs.

        Returns:
            What the function returns; as untrusted as the file.

        Raises:
            JobFailed, MediaError, SandboxFailed; also what ``preparation.check`` raises.
        """
        with ExitStack() as slot:
            with preparation.deadline.paused():
                slot.enter_context(self._slots.slot(preparation.tenant, preparation.check))
            started = time.monotonic()
            try:
                return self._sandbox.run(
                    function,
                    *arguments,
                    readable=(readable,),
                    writable=writable,
                    timeout_s=preparation.deadline.left(timeout_s),
                    memory_bytes=self._memory_bytes,
                    starts_programs=starts_programs,
                    has_low_priority=self._recent_use.is_heavy(preparation.tenant),
                    check=preparation.check,
                )
            finally:
                used_s = time.monotonic() - started
                preparation.decode_s += used_s
                self._recent_use.add(preparation.tenant, used_s)
