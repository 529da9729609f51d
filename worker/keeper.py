"""PROCESS: the keeper (asyncio, no Celery). ``python -m worker.keeper``.

Delivers webhooks, and does for jobs what nobody else does. Two may run.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import structlog

from jobs import bells
from jobs.blobs import Blobs
from jobs.deliveries import Deliveries, DueDelivery
from jobs.ending import Ending
from jobs.epoch import wait_until_ready
from jobs.errors import ThinkqueueError
from jobs.logs import configure_logs
from jobs.record import new_claim
from jobs.scripts import connect
from jobs.settings import Settings
from jobs.store import JobStore
from worker.delivery import Deliverer
from worker.egress import Egress
from worker.heart import Heart
from worker.housekeeping import Housekeeper

log = structlog.get_logger(__name__)

HOUSEKEEPING_S = 0.5
DELIVERIES_S = 0.2
CONCURRENT_DELIVERIES = 64
STOP_LIMIT_S = 20.0
"""An attempt that is under way may end; its time limit is 15 s."""


async def deliver_due(deliveries: Deliveries, deliverer: Deliverer, running: set[asyncio.Task[None]]) -> None:
    """Take what is due, as far as there is room, and start an attempt for each."""
    room = CONCURRENT_DELIVERIES - len(running)
    if room <= 0:
        return
    claim = new_claim()
    for due in await asyncio.to_thread(deliveries.take, claim=claim, limit=room):
        task = asyncio.create_task(_attempt(deliverer, due, claim))
        running.add(task)
        task.add_done_callback(running.discard)


async def _attempt(deliverer: Deliverer, due: DueDelivery, claim: str) -> None:
    try:
        await deliverer.deliver(due, claim=claim)
    except ThinkqueueError as error:
        # Not settled: the row comes up again when its claim has run out.
        log.warning("delivery.delayed", job_id=due.job_id, code=error.code)
    except Exception:
        log.exception("delivery.crashed", job_id=due.job_id)


async def repeat(action: Callable[[], Awaitable[None]], *, every_s: float, stop: asyncio.Event) -> None:
    """Do it again and again until ``stop``; an error is told, and the next round tries anew."""
    while not stop.is_set():
        try:
            await action()
        except ThinkqueueError as error:
            log.warning("keeper.round_missed", code=error.code)
        except Exception:
            log.exception("keeper.round_crashed")
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue


async def keep(settings: Settings, stop: asyncio.Event) -> None:
    redis = connect(settings)
    store, deliveries, blobs = JobStore(redis), Deliveries(redis), Blobs(settings)
    await asyncio.to_thread(wait_until_ready, store, blobs, stop=stop.is_set)
    bells.configure(settings)
    housekeeper = Housekeeper(store, blobs, Ending(store, blobs, retention_days=settings.retention_days))
    heart = Heart(store, stage="keeper", slots=0)
    heart.start()
    heart.tell("ready")
    log.info("worker.ready")
    running: set[asyncio.Task[None]] = set()
    async with Egress(settings.egress_allow) as egress:
        deliverer = Deliverer(store, deliveries, blobs, settings, egress)
        async with asyncio.TaskGroup() as group:
            for action, every_s in (
                (lambda: asyncio.to_thread(housekeeper.round), HOUSEKEEPING_S),
                (lambda: deliver_due(deliveries, deliverer, running), DELIVERIES_S),
            ):
                group.create_task(repeat(action, every_s=every_s, stop=stop))
        if running:
            await asyncio.wait(running, timeout=STOP_LIMIT_S)
    await asyncio.to_thread(heart.stop)


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
