"""An ended job's event stream: while it is fresh in Redis, for as long as the job is kept in the object store."""

import json

from jobs.model.events import Event
from jobs.objects.store import ObjectMissing, ObjectStore, events_key
from jobs.table.store import JobStore


class EventArchive:
    def __init__(self, store: JobStore, object_store: ObjectStore) -> None:
        self._store = store
        self._object_store = object_store

    def move(self, job_id: str) -> None:
        """Write a job's stream into the object store; its copy in Redis goes ten minutes later."""
        events = self._store.events(job_id)
        # An empty stream was moved before, by a keeper that died behind this line.
        if events:
            lines = "".join(json.dumps(event.to_fields(), ensure_ascii=False) + "\n" for event in events)
            self._object_store.put(events_key(job_id), lines.encode(), "application/jsonl")
        self._store.mark_archived(job_id)

    def read(self, job_id: str, *, after: int = 0) -> list[Event]:
        """An ended job's events behind ``after``; empty when they have outlived their retention."""
        if events := self._store.events(job_id, after=after):
            return events
        try:
            lines = self._object_store.get(events_key(job_id)).decode().split("\n")[:-1]
        except ObjectMissing:
            return []
        events = [Event(seq, kind, json.loads(data)) for seq, kind, data in map(json.loads, lines)]
        return [event for event in events if event.seq > after]
