"""Runs the batches that have not ended: takes their leases, and works on each in turn."""

import secrets
import time
from functools import partial

import structlog

from jobs.batches.run import BatchRun
from jobs.batches.window import LeaseLost, Parts
from jobs.errors import BatchNotFound, NotInitialized, Overloaded, Unavailable
from jobs.table.batches import BatchLedger

log = structlog.get_logger(__name__)

MAX_BATCHES = 32
"""Batches that one runner works on at the same time."""
CRASH_PAUSE_S = 10.0


class BatchRunner:
    """Any number of them may run. To be used from one thread."""

    def __init__(self, parts: Parts, ledger: BatchLedger, *, lease_s: float) -> None:
        self._parts = parts
        self._ledger = ledger
        self._lease_s = lease_s
        self._name = secrets.token_hex(8)
        self._runs: dict[str, BatchRun] = {}
        self._paused_until: dict[str, float] = {}

    def run_once(self) -> int:
        """Advance each batch once, and return how many batches have not ended, also those of other runners.

        Raises:
            Unavailable, NotInitialized: Redis does not answer.
        """
        found = self._ledger.list_open()
        for tenant, batch_id in found:
            now = time.monotonic()
            is_mine = batch_id in self._runs
            if self._paused_until.get(batch_id, 0.0) > now or (not is_mine and len(self._runs) >= MAX_BATCHES):
                continue
            if not self._ledger.hold(batch_id, self._name, lease_s=self._lease_s):
                self._runs.pop(batch_id, None)
                continue
            self._advance(tenant, batch_id)
        return len(found)

    def stop(self) -> None:
        """Let other runners have the batches at once."""
        for batch_id in self._runs:
            self._ledger.release(batch_id, self._name)

    def _advance(self, tenant: str, batch_id: str) -> None:
        try:
            if batch_id not in self._runs:
                batch = self._parts.store.get(tenant, batch_id)
                renew = partial(self._renew, batch_id)
                self._runs[batch_id] = BatchRun(self._parts, batch, runner=self._name, renew=renew)
                log.info("batch.taken", tenant=tenant, batch_id=batch_id)
            if not self._runs[batch_id].advance():
                return
            self._parts.store.delete_parts(batch_id)
            log.info("batch.ended", tenant=tenant, batch_id=batch_id)
        except BatchNotFound:
            log.warning("batch.missing", tenant=tenant, batch_id=batch_id)
        except LeaseLost:
            self._runs.pop(batch_id, None)
            return
        except (Overloaded, Unavailable, NotInitialized) as error:
            log.warning("batch.delayed", tenant=tenant, batch_id=batch_id, code=error.code, detail=error.message)
            return
        except Exception:
            log.exception("batch.crashed", tenant=tenant, batch_id=batch_id)
            self._runs.pop(batch_id, None)
            self._paused_until[batch_id] = time.monotonic() + CRASH_PAUSE_S
            return
        self._runs.pop(batch_id, None)
        self._paused_until.pop(batch_id, None)
        self._ledger.close(tenant, batch_id)

    def _renew(self, batch_id: str) -> None:
        if not self._ledger.hold(batch_id, self._name, lease_s=self._lease_s):
            raise LeaseLost
