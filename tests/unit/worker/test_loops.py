"""The keeper's loops: they survive errors, and a loop that hangs is noticed."""

import asyncio

import pytest
from structlog.testing import capture_logs

from jobs.errors import StoreUnavailable
from worker.keeper.loops import LoopMonitor, repeat


def test_a_loop_continues_after_errors_and_logs_the_same_error_once() -> None:
    stop, runs = asyncio.Event(), 0

    async def fail() -> None:
        nonlocal runs
        runs += 1
        if runs == 5:
            stop.set()
        if runs == 3:
            raise ZeroDivisionError
        raise StoreUnavailable

    with capture_logs() as logs:
        asyncio.run(repeat(fail, interval_s=0, stop=stop))
    assert runs == 5
    assert [line["event"] for line in logs] == ["keeper.loop_failed", "keeper.loop_crashed"]


def test_the_monitor_is_ready_after_the_first_run_even_if_it_failed() -> None:
    monitor = LoopMonitor(stall_timeout_s=60)

    async def fail() -> None:
        raise StoreUnavailable

    async def run_watched() -> None:
        await monitor.watch(fail)()

    assert not monitor.is_ready()
    with pytest.raises(StoreUnavailable):
        asyncio.run(run_watched())
    assert monitor.is_ready()


def test_a_loop_that_hangs_is_not_live() -> None:
    assert LoopMonitor(stall_timeout_s=60).is_live()
    assert not LoopMonitor(stall_timeout_s=0).is_live()
