"""Send wake-up messages to the workers of a stage."""

import redis
from kombu.exceptions import KombuError

from jobs.errors import StoreUnavailable
from jobs.model.job import Stage
from jobs.table.store import JobStore
from jobs.wakeup.app import TASKS, WAKEUP_VERSION, app


def notify(store: JobStore, stage: Stage) -> bool:
    """Send a wake-up if the stage needs one. True: it was sent.

    Raises:
        StoreUnavailable: it may be missing; the keeper sends it later.
    """
    if not store.needs_wakeup(stage):
        return False
    send_wakeup(stage)
    return True


def send_wakeup(stage: Stage) -> None:
    """Send a wake-up without asking whether it is needed. Raises StoreUnavailable."""
    try:
        app.send_task(TASKS[stage], args=(WAKEUP_VERSION,), queue=stage.value, ignore_result=True)
    except (KombuError, redis.RedisError) as error:
        raise StoreUnavailable from error
