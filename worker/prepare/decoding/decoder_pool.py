"""Runs decoders for the jobs of all tenants: a limited number at once, shared fairly.

A tenant alone may use all decoders. Some more are kept for tenants that have none, so that a job never waits for the
files of another tenant, however long these take. A decoder that runs for long continues at the lowest priority
(sandbox/server.py), and those of a tenant that has used decoders a lot lately start at it, so that the additional one
finds a free core. A decoder that needs much memory waits for one of the few large shares (memory_plan.py).
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from runtime.settings import Settings
from worker.prepare.decoding.memory_plan import BASE_BYTES, plan_memory
from worker.prepare.decoding.recent_use import RecentUse
from worker.prepare.fair_slots import FairSlots, reserve_for_others
from worker.prepare.preparation import Preparation
from worker.prepare.sandbox.client import Sandbox
from worker.prepare.sandbox.memory_gate import MemoryShare


class DecoderPool:
    """Safe to share between threads."""

    def __init__(self, settings: Settings, sandbox: Sandbox) -> None:
        self.plan = plan_memory(settings)
        self._slots = FairSlots(reserve_for_others(self.plan.decoders, self.plan.reserve))
        reserve = self.plan.large_decoders // 2
        self._large_shares = FairSlots(reserve_for_others(self.plan.large_decoders - reserve, reserve))
        self._recent_use = RecentUse()
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
        with ExitStack() as slots:
            waited_s = 0.0
            has_large_share = False

            def take(wanted: FairSlots) -> None:
                nonlocal waited_s
                with preparation.deadline.paused():
                    waited_s += slots.enter_context(wanted.slot(preparation.tenant, preparation.check))

            def grow() -> None:
                nonlocal has_large_share
                if not has_large_share:  # a decoder that was started again may grow again
                    take(self._large_shares)
                    has_large_share = True

            if starts_programs:
                grow()  # several processes cannot be paused
            take(self._slots)
            started, waited_s = time.monotonic(), 0.0
            try:
                return self._sandbox.run(
                    function,
                    *arguments,
                    readable=(readable,),
                    writable=writable,
                    timeout_s=preparation.deadline.left(timeout_s),
                    memory_bytes=self.plan.large_bytes,
                    starts_programs=starts_programs,
                    has_low_priority=self._recent_use.is_heavy(preparation.tenant),
                    memory_share=MemoryShare(BASE_BYTES, self.plan.large_bytes, grow),
                    check=preparation.check,
                )
            finally:
                used_s = time.monotonic() - started - waited_s
                preparation.decode_s += used_s
                self._recent_use.add(preparation.tenant, used_s)
