"""Creates, finds, lists and cancels the batches of tenants."""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from ulid import ULID

from jobs.batches.batch import Batch, BatchState
from jobs.batches.store import BatchStore
from jobs.errors import BatchNotFound, Overloaded, TooManyBatches, Unavailable
from jobs.objects.documents import CorruptDocument
from jobs.table.batches import BatchLedger

ID = re.compile(r"batch_[0-9A-HJKMNP-TV-Z]{26}")
MAX_STORED = 10_000
"""Batches of one tenant that are kept."""
PARALLEL_READS = 8


@dataclass(frozen=True)
class FoundBatch:
    """A batch and its latest state."""

    batch: Batch
    state: BatchState


@dataclass(frozen=True)
class BatchPage:
    """A part of the list of a tenant's batches."""

    found: list[FoundBatch]
    has_more: bool


class Batches:
    """Every method raises StoreUnavailable and ObjectStoreUnavailable; those that take an id raise BatchNotFound."""

    def __init__(self, store: BatchStore, ledger: BatchLedger, *, max_open: int) -> None:
        self._store = store
        self._ledger = ledger
        self._max_open = max_open
        self._pool = ThreadPoolExecutor(PARALLEL_READS, "batches")

    def create(self, batch: Batch) -> FoundBatch:
        """Store a batch; a runner takes it soon. Raises TooManyBatches."""
        if len(self._store.list_ids(batch.tenant)) >= MAX_STORED:
            raise TooManyBatches(
                f"You have {MAX_STORED} batches of the last 30 days, the limit; wait until some expire."
            )
        self._store.create(batch)  # first, because a runner forgets a batch that is not stored
        try:
            self._ledger.open(batch.tenant, batch.id, batch.created_ms, max_open=self._max_open)
        except (Overloaded, Unavailable):
            with suppress(Unavailable):
                self._store.delete(batch)
            raise
        return FoundBatch(batch, BatchState())

    def get(self, tenant: str, batch_id: str) -> FoundBatch:
        """Return a batch. One that has not ended is noted again, in case that Redis has lost it."""
        if not ID.fullmatch(batch_id):
            raise BatchNotFound(f"Batch {batch_id[:80]!r} does not exist, or has expired.")
        batch = self._store.get(tenant, batch_id)
        found = FoundBatch(batch, self._store.state(batch_id))
        if found.state.has_ended:
            return found
        with suppress(Overloaded):  # Redis is out of memory
            self._ledger.open(tenant, batch_id, batch.created_ms)
        if found.state.status in ("validating", "in_progress") and self._store.is_cancelled(batch_id):
            return replace(found, state=replace(found.state, status="cancelling"))
        return found

    def cancel(self, tenant: str, batch_id: str) -> FoundBatch:
        """Stop a batch; one that has ended, or is about to, does not change."""
        found = self.get(tenant, batch_id)
        if found.state.status not in ("validating", "in_progress"):
            return found
        self._store.cancel(batch_id)
        return self.get(tenant, batch_id)

    def page(self, tenant: str, *, after: str | None, limit: int) -> BatchPage:
        """Return a page of a tenant's batches, the newest first.

        Args:
            after: id of the last batch of the previous page.
        """
        ids = [one for one in reversed(self._store.list_ids(tenant)) if after is None or one < after]
        found = self._pool.map(partial(self._find, tenant), ids[:limit])
        return BatchPage([one for one in found if one is not None], len(ids) > limit)

    def close(self) -> None:
        """Stop the threads; ``page`` cannot be called afterwards."""
        self._pool.shutdown()

    def _find(self, tenant: str, batch_id: str) -> FoundBatch | None:
        try:
            return self.get(tenant, batch_id)
        except (BatchNotFound, CorruptDocument):
            return None


def new_batch_id() -> str:
    return f"batch_{ULID()}"
