"""Reads and writes the objects of batches.

A state is written once, under the next number, so a runner that was frozen and has lost its lease cannot undo what
another one has done: the number that it writes exists already, or is not the highest one.
"""

from jobs.batches.batch import Batch, BatchState
from jobs.errors import BatchNotFound
from jobs.objects import keys
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import parse
from jobs.objects.store import ObjectStore


class BatchStore:
    """Every method raises ObjectStoreUnavailable."""

    def __init__(self, object_store: ObjectStore) -> None:
        self._object_store = object_store

    def create(self, batch: Batch) -> None:
        self._object_store.put(keys.batch_key(batch.tenant, batch.id), batch.to_json(), "application/json")

    def delete(self, batch: Batch) -> None:
        """Delete a batch that no runner has seen."""
        self._object_store.delete(keys.batch_key(batch.tenant, batch.id))

    def get(self, tenant: str, batch_id: str) -> Batch:
        """Return a tenant's batch. Raises BatchNotFound and CorruptDocument."""
        key = keys.batch_key(tenant, batch_id)
        try:
            return parse(key, self._object_store.get(key), Batch.from_json)
        except ObjectNotFound:
            raise BatchNotFound(f"Batch {batch_id[:80]!r} does not exist, or has expired.") from None

    def list_ids(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's batches, the oldest first."""
        found = self._object_store.list_keys(keys.batch_prefix(tenant))
        return sorted(key.rpartition("/")[2].removesuffix(".json") for key in found)

    # ── states ──

    def state(self, batch_id: str) -> BatchState:
        """Return the latest state; the first one if none is stored."""
        for _ in range(3):  # the runner deletes earlier states
            found = sorted(self._object_store.list_keys(keys.batch_state_prefix(batch_id)))
            if not found:
                return BatchState()
            try:
                return parse(found[-1], self._object_store.get(found[-1]), BatchState.from_json)
            except ObjectNotFound:
                continue
        return BatchState()

    def save_state(self, batch_id: str, state: BatchState) -> bool:
        """Store the next state, and delete the one before the last. False: another runner has stored one."""
        key = keys.batch_state_key(batch_id, state.number)
        if not self._object_store.put_if_absent(key, state.to_json()):
            return False
        if max(self._object_store.list_keys(keys.batch_state_prefix(batch_id))) != key:
            return False  # it was stored by another runner, and deleted since
        if state.number > 2:
            self._object_store.delete(keys.batch_state_key(batch_id, state.number - 2))
        return True

    # ── cancels ──

    def cancel(self, batch_id: str) -> None:
        self._object_store.put_if_absent(keys.batch_cancel_key(batch_id), b"{}")

    def is_cancelled(self, batch_id: str) -> bool:
        return self._object_store.exists(keys.batch_cancel_key(batch_id))

    # ── parts of the output ──

    def put_part(self, batch_id: str, name: str, lines: bytes) -> None:
        self._object_store.put(keys.batch_part_prefix(batch_id) + name, lines, "application/jsonl")

    def part(self, batch_id: str, name: str) -> bytes:
        """Return a part; nothing if it has no lines."""
        try:
            return self._object_store.get(keys.batch_part_prefix(batch_id) + name)
        except ObjectNotFound:
            return b""

    def delete_parts(self, batch_id: str) -> None:
        self._object_store.delete_prefix(keys.batch_part_prefix(batch_id))
