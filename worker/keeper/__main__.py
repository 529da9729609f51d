"""PROCESS: the keeper (asyncio, no Celery). ``python -m worker.keeper``.

Delivers webhooks, and does for jobs what nobody else does. Two may run.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial

import structlog

from jobs.errors import ThinkqueueError
from jobs.lifecycle.bootstrap import wait_until_ready
from jobs.lifecycle.finalize import JobFinalizer
from jobs.lifecycle.recovery import Recovery
from jobs.model.job import new_claim
from jobs.objects.store import ObjectStore
from jobs.table.collector import register_table_collector
from jobs.table.deliveries import DeliveryStore, DueDelivery
from jobs.table.maintenance import MaintenanceStore
from jobs.table.scripts import connect
from jobs.table.stats import StatsReader
from jobs.table.store import JobStore
from jobs.wakeup import notify
from runtime import metrics
from runtime.logs import configure_logs
from runtime.probes import start_probe_server
from runtime.settings import Settings
from worker.egress.client import EgressClient
from worker.heartbeat import Heartbeat
from worker.keeper.delivery.deliverer import Deliverer
from worker.keeper.reaper import Reaper

log = structlog.get_logger(__name__)

HOUSEKEEPING_S = 0.5
TIDYING_S = 1.0
DELIVERIES_S = 0.2
CONCURRENT_DELIVERIES = 64
OBJECT_STORE_TIMEOUT_S = 4.0
"""An object store that hangs must not hold a round up for long, nor the keeper's end."""
STOP_LIMIT_S = 4.0
"""An attempt that is under way may end; then it is given back, for another keeper."""
TELL_AGAIN_S = 30.0
"""A trouble that lasts is told again so often."""
HUNG_S = 180.0
"""A round ends a hundred jobs at the most, each call with a time limit; the start may wait a minute for its servers."""

Action = Callable[[], Awaitable[None]]


class Pulse:
    """Whether rounds come to an end: a keeper whose round hangs is to be started anew."""

    def __init__(self) -> None:
        self.rounds = 0
        self._last = time.monotonic()

    def of(self, action: Action) -> Action:
        """The action, with a beat at each of its ends."""

        async def beating() -> None:
            try:
                await action()
            finally:
                self.rounds += 1
                self._last = time.monotonic()
                metrics.ROUNDS.inc()

        return beating

    def is_beating(self) -> bool:
        return time.monotonic() - self._last < HUNG_S


async def deliver_due(deliveries: DeliveryStore, deliverer: Deliverer, running: set[asyncio.Task[None]]) -> None:
    """Take what is due, as far as there is room, and start an attempt for each."""
    while (room := CONCURRENT_DELIVERIES - len(running)) > 0:
        claim = new_claim()
        taken = await asyncio.to_thread(deliveries.claim_due, claim=claim, limit=room)
        for due in taken:
            task = asyncio.create_task(_attempt(deliverer, due, claim))
            running.add(task)
            task.add_done_callback(running.discard)
        if len(taken) < room:
            return


async def _attempt(deliverer: Deliverer, due: DueDelivery, claim: str) -> None:
    try:
        await deliverer.deliver(due, claim=claim)
    except ThinkqueueError as error:
        # Not settled: the row comes up again when its claim has run out.
        log.warning("delivery.delayed", job_id=due.job_id, code=error.code)
    except Exception:
        log.exception("delivery.crashed", job_id=due.job_id)


async def repeat(action: Action, *, every_s: float, stop: asyncio.Event) -> None:
    """Do it again and again until ``stop``; an error is told, and the next round tries anew."""
    told, told_at = "", 0.0
    while not stop.is_set():
        try:
            await action()
        except ThinkqueueError as error:
            now = asyncio.get_running_loop().time()
            if error.code != told or now - told_at > TELL_AGAIN_S:
                log.warning("keeper.loop_failed", code=error.code, detail=error.message)
                told, told_at = error.code, now
        except Exception:
            log.exception("keeper.loop_crashed")
        else:
            told = ""
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue


def reconcile(recovery: Recovery, stop: asyncio.Event) -> None:
    """Hold the table against the objects when Redis has started anew: it may have lost its last second."""
    if recovery.is_needed:
        report = recovery.run(stop=stop.is_set)
        log.info("keeper.reconciled", **asdict(report))


def in_thread(work: Callable[[], None], name: str) -> Action:
    """A thread of its own: what one kind of work waits for holds up none of the others."""
    pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def action() -> None:
        await asyncio.get_running_loop().run_in_executor(pool, work)

    return action


async def keep(settings: Settings, stop: asyncio.Event) -> None:
    redis = connect(settings)
    store, deliveries = JobStore(redis, lease_s=settings.lease_s), DeliveryStore(redis)
    object_store = ObjectStore(settings, timeout_s=OBJECT_STORE_TIMEOUT_S, tries=2)
    pulse = Pulse()
    register_table_collector(StatsReader(redis, lease_s=settings.lease_s), settings)
    start_probe_server(settings, is_live=pulse.is_beating, is_ready=lambda: pulse.rounds > 0)
    await asyncio.to_thread(wait_until_ready, store, object_store, stop=stop.is_set)
    notify.configure(settings)
    finalizer = JobFinalizer(store, object_store, retention_days=settings.retention_days)
    housekeeper = Reaper(store, MaintenanceStore(redis, lease_s=settings.lease_s), object_store, finalizer)
    recovery = Recovery(redis, object_store, settings)
    heartbeat = Heartbeat(store, stage="keeper", slots=0, interval_s=settings.heartbeat_s)
    heartbeat.start()
    heartbeat.set_state("ready")
    log.info("worker.ready")
    running: set[asyncio.Task[None]] = set()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(CONCURRENT_DELIVERIES, "delivery"))
    async with EgressClient(settings.egress_allow) as egress:
        deliverer = Deliverer(store, deliveries, object_store, settings, egress)
        async with asyncio.TaskGroup() as group:
            for action, every_s in (
                (pulse.of(in_thread(housekeeper.run_maintenance, "jobs")), HOUSEKEEPING_S),
                (in_thread(housekeeper.run_cleanup, "tidying"), TIDYING_S),
                (in_thread(partial(reconcile, recovery, stop), "recovery"), TIDYING_S),
                (partial(deliver_due, deliveries, deliverer, running), DELIVERIES_S),
            ):
                group.create_task(repeat(action, every_s=every_s, stop=stop))
        if running:
            _, late = await asyncio.wait(running, timeout=STOP_LIMIT_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
    await asyncio.to_thread(heartbeat.stop)


async def run(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await keep(settings, stop)


def main() -> None:
    settings = Settings()
    configure_logs(settings, process="keeper")
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
