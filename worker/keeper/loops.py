"""Runs the keeper's work periodically, and detects a loop that hangs."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from jobs.errors import ThinkqueueError
from runtime.telemetry import metrics

log = structlog.get_logger(__name__)

LOG_INTERVAL_S = 30.0
"""Minimum interval between repeats of the same warning."""

Action = Callable[[], Awaitable[None]]


class LoopMonitor:
    """Counts the completed runs of a loop for the liveness and readiness probes."""

    def __init__(self, *, stall_timeout_s: float) -> None:
        """
        Args:
            stall_timeout_s: after this time without a completed run, the loop is not live.
        """
        self._stall_timeout_s = stall_timeout_s
        self._runs = 0
        self._last_run = time.monotonic()

    def watch(self, action: Action) -> Action:
        """Return the action, counted each time it ends, with or without an error."""

        async def counted() -> None:
            try:
                await action()
            finally:
                self._runs += 1
                self._last_run = time.monotonic()
                metrics.MAINTENANCE_RUNS.inc()

        return counted

    def is_live(self) -> bool:
        """Whether a run has ended recently; otherwise the process should be restarted."""
        return time.monotonic() - self._last_run < self._stall_timeout_s

    def is_ready(self) -> bool:
        """Whether the first run has ended."""
        return self._runs > 0


async def repeat(action: Action, *, interval_s: float, stop: asyncio.Event) -> None:
    """Run an action until ``stop`` is set, with a pause of ``interval_s`` after each run.

    An error is logged and does not end the loop. The same error is logged at most once per ``LOG_INTERVAL_S``.
    """
    logged_code, logged_at = "", 0.0
    while not stop.is_set():
        try:
            await action()
        except ThinkqueueError as error:
            now = asyncio.get_running_loop().time()
            if error.code != logged_code or now - logged_at > LOG_INTERVAL_S:
                log.warning("keeper.loop_failed", code=error.code, detail=error.message)
                logged_code, logged_at = error.code, now
        except Exception:
            log.exception("keeper.loop_crashed")
        else:
            logged_code = ""
        try:
            await asyncio.wait_for(stop.wait(), interval_s)
        except TimeoutError:
            continue


def in_own_thread(work: Callable[[], None], name: str) -> Action:
    """Return an action that runs blocking work in a thread of its own, so that it delays no other loop."""
    pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def action() -> None:
        await asyncio.get_running_loop().run_in_executor(pool, work)

    return action
