"""The event streams of ended jobs: first in Redis, then in the object store for as long as the job is kept."""

import json

from jobs.lifecycle.deletion import delete_if_removed
from jobs.model.events import Event
from jobs.objects.client import ObjectNotFound
from jobs.objects.keys import events_key
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore


class EventArchive:
    """Moves event streams to the object store, and reads them from either place."""

    def __init__(self, store: JobStore, object_store: ObjectStore) -> None:
        self._store = store
        self._object_store = object_store

    def archive(self, job_id: str) -> None:
        """Copy an ended job's stream to the object store, and let the one in Redis expire (``STREAM_RETENTION_MS``)."""
        events = self._store.events(job_id)
        # An empty stream was copied before, by a keeper that died before the next call.
        if events:
            lines = "".join(json.dumps(event.to_fields(), ensure_ascii=False) + "\n" for event in events)
            self._object_store.put(events_key(job_id), lines.encode(), "application/jsonl")
            delete_if_removed(self._store, self._object_store, job_id, events_key(job_id))
        self._store.mark_archived(job_id)

    def read(self, job_id: str, *, after: int = 0) -> list[Event]:
        """Return an ended job's events with a sequence number greater than ``after``; none if they have expired."""
        if events := self._store.events(job_id, after=after):
            return events
        try:
            lines = self._object_store.get(events_key(job_id)).decode().split("\n")[:-1]
        except ObjectNotFound:
            return []
        events = [Event(seq, kind, json.loads(data)) for seq, kind, data in map(json.loads, lines)]
        return [event for event in events if event.seq > after]
