"""The event streams of ended jobs: first in Redis, then in the object store for as long as the job is kept."""

import json

import structlog

from jobs.lifecycle.end.deletion import delete_if_removed
from jobs.model.events import Event
from jobs.objects.client import ObjectNotFound
from jobs.objects.keys import events_key
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore

log = structlog.get_logger(__name__)


class EventArchive:
    """Moves event streams to the object store, and reads them from either place."""

    def __init__(self, store: JobStore, object_store: ObjectStore) -> None:
        self._store = store
        self._object_store = object_store

    def archive(self, job_id: str) -> None:
        """Copy an ended job's stream to the object store, and let the one in Redis expire (``STREAM_RETENTION_MS``)."""
        try:
            events = self._store.events(job_id)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # It stays damaged, and a job whose events wait for the archive cannot leave Redis.
            log.error("job.events_corrupt", job_id=job_id, detail=repr(error))
            events = []
        # An empty stream was copied before, by a keeper that died before the next call.
        if events:
            lines = "".join(json.dumps(event.to_fields(), ensure_ascii=False) + "\n" for event in events)
            self._object_store.put(events_key(job_id), lines.encode(), "application/jsonl")
            delete_if_removed(self._store, self._object_store, job_id, events_key(job_id))
        self._store.mark_archived(job_id)

    def read(self, job_id: str, *, after: int = 0) -> list[Event]:
        """Return an ended job's events with a sequence number greater than ``after``.

        There are none if they have expired or are damaged.
        """
        try:
            if events := self._store.events(job_id, after=after):
                return events
            lines = self._object_store.get(events_key(job_id)).decode().split("\n")[:-1]
            events = [Event(seq, kind, json.loads(data)) for seq, kind, data in map(json.loads, lines)]
            return [event for event in events if event.seq > after]
        except ObjectNotFound:
            return []
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.error("job.events_corrupt", job_id=job_id, detail=repr(error))
            return []
