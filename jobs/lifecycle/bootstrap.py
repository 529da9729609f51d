"""The first start of an installation: bucket, a probe of what the store promises, and the epoch."""

import secrets
import time
from collections.abc import Callable

import structlog

from jobs.errors import NotInitialized, RecoveryNeeded, Unavailable
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from runtime.settings import Settings

log = structlog.get_logger(__name__)

START_LIMIT_S = 60.0
"""How long a process waits for its servers before it gives up and lets its supervisor start it anew."""


def initialize(settings: Settings) -> str:
    """Make an installation ready for jobs; does nothing to one that is. Returns the epoch.

    Raises:
        RecoveryNeeded: jobs lie in the object store, but Redis has no epoch: it has lost its data.
        Unavailable: a server does not answer, or the object store cannot keep results final.
    """
    store, object_store = JobStore(connect(settings), lease_s=settings.lease_s), ObjectStore(settings)
    store.integrity.ping()
    object_store.create_bucket(retention_days=settings.retention_days)
    object_store.probe_conditional_put()
    if epoch := store.integrity.epoch():
        return epoch
    if not object_store.is_empty("requests/"):
        raise RecoveryNeeded
    store.integrity.mark_reconciled(store.integrity.server_clock()[0])  # nothing is there to be held against it
    return store.integrity.begin_epoch(secrets.token_hex(8))


def wait_until_ready(
    store: JobStore,
    object_store: ObjectStore,
    *,
    limit_s: float = START_LIMIT_S,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Wait for Redis, the object store and the epoch, which may start after this process.

    Raises:
        Unavailable, NotInitialized: still missing after ``limit_s``.
    """
    give_up = time.monotonic() + limit_s
    while True:
        try:
            store.integrity.require_epoch()
            object_store.ping()
        except (Unavailable, NotInitialized) as error:
            if time.monotonic() >= give_up or stop():
                raise
            log.info("start.waiting", code=error.code)
            time.sleep(0.5)
        else:
            return
