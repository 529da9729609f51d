"""Send wake-up messages to the workers of a stage."""

import redis
from kombu.exceptions import KombuError

from jobs.errors import StoreUnavailable
from jobs.model.job import Stage
from jobs.table.store import JobStore
from jobs.wakeup.app import TASKS, WAKEUP_VERSION, app


def notify(store: JobStore, stage: Stage, *, full_worker: str = "", tenant: str = "") -> bool:
    """Send a wake-up if the stage needs one. True: it was sent.

    Args:
        full_worker: the calling worker, if it has no free slot: it would only receive its own wake-up.
        tenant: whose job was added, if one was (see ``JobStore.needs_wakeup``).

    Raises:
        StoreUnavailable: it may be missing; the keeper sends it later.
    """
    if not store.needs_wakeup(stage, full_worker=full_worker, tenant=tenant):
        return False
    send_wakeup(stage)
    return True


def send_wakeup(stage: Stage) -> None:
    """Send a wake-up without asking whether it is needed. Raises StoreUnavailable."""
    try:
        app.send_task(TASKS[stage], args=(WAKEUP_VERSION,), queue=stage.value, ignore_result=True)
    except (KombuError, redis.RedisError) as error:
        raise StoreUnavailable from error
