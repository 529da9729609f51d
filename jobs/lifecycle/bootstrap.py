"""Initialises an installation, and waits until one is ready."""

import secrets
import time
from collections.abc import Callable

import structlog

from jobs.errors import NotInitialized, ObjectStoreUnsuitable, RecoveryNeeded, Unavailable
from jobs.objects.keys import REQUESTS
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from runtime.settings import Settings

log = structlog.get_logger(__name__)

START_TIMEOUT_S = 60.0
"""A process whose servers are not ready after this exits, and its supervisor restarts it."""
POLL_S = 0.5


def initialize(settings: Settings, *, create_bucket: bool = True) -> str:
    """Create the bucket, check the object store, and begin an epoch. Does nothing to an initialized installation.

    Args:
        create_bucket: False: the bucket must exist.

    Returns:
        The epoch.

    Raises:
        RecoveryNeeded: the object store contains jobs, but Redis has no epoch: it has lost its data.
        Unavailable: a server does not answer, or the object store cannot keep results final.
    """
    store, object_store = JobStore(connect(settings), lease_s=settings.lease_s), ObjectStore(settings)
    store.integrity.ping()
    if create_bucket:
        object_store.create_bucket()
    else:
        object_store.ping()
    object_store.set_lifecycle()
    object_store.probe_conditional_put()
    if epoch := store.integrity.epoch():
        return epoch
    if not object_store.is_empty(REQUESTS):
        raise RecoveryNeeded
    store.integrity.mark_reconciled(store.integrity.server_clock()[0])  # there are no jobs to reconcile
    return store.integrity.begin_epoch(secrets.token_hex(8))


def wait_until_ready(
    store: JobStore,
    object_store: ObjectStore,
    *,
    timeout_s: float = START_TIMEOUT_S,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Wait for Redis, the object store and the epoch, which may start after this process. Checks the object store.

    Args:
        stop: asked between checks; if it returns True, the error of the last check is raised.

    Raises:
        ObjectStoreUnsuitable: the object store cannot keep results final.
        Unavailable, NotInitialized: not ready after ``timeout_s``.
    """
    give_up = time.monotonic() + timeout_s
    while True:
        try:
            store.integrity.require_epoch()
            object_store.ping()
            object_store.probe_conditional_put()
        except ObjectStoreUnsuitable:
            raise
        except (Unavailable, NotInitialized) as error:
            if time.monotonic() >= give_up or stop():
                raise
            log.info("start.waiting", code=error.code)
            time.sleep(POLL_S)
        else:
            return
