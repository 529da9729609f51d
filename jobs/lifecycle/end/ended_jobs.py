"""Reads ended jobs that have left Redis because their tenant has many (``MAX_ENDED_JOBS``)."""

import time

from jobs.errors import JobWithdrawn, NotFound
from jobs.lifecycle.restored_fields import sealed_fields
from jobs.model.job import Job
from jobs.model.retention import DAY_MS
from jobs.objects.documents import load_request, load_result
from jobs.objects.keys import result_key
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore


class EndedJobReader:
    """Builds the record of an ended job from its objects. Safe to share between threads."""

    def __init__(self, store: JobStore, object_store: ObjectStore, *, retention_days: int) -> None:
        self._store = store
        self._object_store = object_store
        self._retention_ms = retention_days * DAY_MS

    def find(self, job_id: str, *, tenant: str) -> Job | None:
        """Return a tenant's job that has ended and has left Redis; None: there is none, or its retention has ended.

        Tenants none of whose jobs have left Redis cost no call of the object store.

        Raises:
            Unavailable
        """
        if not self._store.has_forgotten_jobs(tenant) or self._store.is_removed(job_id):
            return None
        try:
            request, result = load_request(self._object_store, job_id), load_result(self._object_store, job_id)
        except (NotFound, JobWithdrawn):
            return None
        times = dict(self._object_store.list_with_times(result_key(job_id)))
        ended_ms = times.get(result_key(job_id), 0)
        retention_ms = min(request.retention_ms or self._retention_ms, self._retention_ms)
        if request.tenant != tenant or ended_ms + retention_ms <= time.time() * 1000:
            return None
        ended = {"status": result.status, "ended_ms": ended_ms, "sealed": "", "claim": ""}
        fields = {**sealed_fields(request, result), **ended}
        return Job.from_hash(job_id, {name: str(value) for name, value in fields.items()})
