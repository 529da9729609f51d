"""Reconciles the job table with the object store after Redis lost all data, its last second, or a primary.

Requests, results, cancels and settled deliveries are flat prefixes, so a few listings show what is missing:

no record, no result    the job waits again; prepared inputs are reused
no record, not accepted the request stays without a job (lifecycle/acceptance.py)
no record, a result     the job has ended: a record that says so, and the deliveries that are not settled
no record, a cancel     the job ends as cancelled
a record, and a result  its writer died before finish: the job ends as the result says
a record, and a cancel  Redis lost the cancel: it is repeated

Records are created only where they are absent, so recovery may run beside workers, api processes and another recovery.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import redis
import structlog

from jobs.errors import ClaimLost, NewerDocument, NotFound, NotInitialized, ObjectUnavailable, Unavailable
from jobs.lifecycle.acceptance import Acceptance
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.lifecycle.end.settled_deliveries import load_settled
from jobs.lifecycle.recovery.report import Outcome, RecoveryReport
from jobs.lifecycle.recovery.stored_job_reader import StoredJobReader
from jobs.lifecycle.recovery.stored_jobs import Listing, StoredJob, list_stored_jobs
from jobs.lifecycle.restored_fields import RecordFields, sealed_fields, waiting_fields
from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.model.job import Job, JobStatus
from jobs.model.retention import DAY_MS
from jobs.objects.store import ObjectStore
from jobs.table.deliveries import DeliveryStore
from jobs.table.integrity import Integrity
from jobs.table.reports.listing import labels
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from runtime.settings import Settings

log = structlog.get_logger(__name__)

T = TypeVar("T")
CHUNK = 200
"""Records that are read at once."""
OBJECT_TRIES = 3
"""Of a job whose object the store fails to serve although it answers."""
RETRY_S = 1.0
READERS = 8
"""Threads that read objects."""


def recover(settings: Settings) -> RecoveryReport:
    """Begin an epoch if there is none, and repair the job table. May be repeated.

    Raises:
        Unavailable: call it again; what was repaired stays repaired.
    """
    client, object_store = connect(settings), ObjectStore(settings)
    object_store.ping()
    Integrity(client).begin_epoch(secrets.token_hex(8))
    return Recovery(client, object_store, settings).run()


class Recovery:
    """Compares the job table with the object store and repairs the table."""

    def __init__(
        self, client: "redis.Redis", object_store: ObjectStore, settings: Settings, *, retry_s: float = RETRY_S
    ) -> None:
        """
        Args:
            retry_s: wait before an object is read again that the store fails to serve.
        """
        self._retry_s = retry_s
        self._store = JobStore(client, lease_s=settings.lease_s)
        self._deliveries = DeliveryStore(client)
        self._object_store = object_store
        self._retention_ms = settings.retention_days * DAY_MS
        self._max_ended = settings.max_ended_jobs
        self._reader = StoredJobReader(object_store, Acceptance(self._store, object_store))
        self._finalizer = JobFinalizer(self._store, object_store, retention_days=settings.retention_days)

    @property
    def is_needed(self) -> bool:
        """Whether Redis has restarted or failed over since the job table was last reconciled."""
        integrity = self._store.integrity
        return not integrity.is_reconciled() or integrity.is_second_reconciliation_due()

    def run(self, *, stop: Callable[[], bool] = lambda: False) -> RecoveryReport:
        """Repair the job table. May be repeated, and several processes may run it at once.

        Args:
            stop: asked between chunks; if it returns True, the next run starts from the beginning.

        Raises:
            Unavailable: call it again.
        """
        run_id, now_s = self._store.integrity.server_clock()
        listing, report = list_stored_jobs(self._object_store), RecoveryReport()
        with ThreadPoolExecutor(READERS, "recovery") as pool:
            for chunk in _chunks(listing.requests):
                if stop():
                    return report
                jobs = self._store.get_many(chunk)
                known = [job for job in jobs if job]
                missing = [job_id for job_id, job in zip(chunk, jobs, strict=True) if job is None]
                for repaired in pool.map(lambda job: self._isolate(job.id, lambda: self._repair(job, listing)), known):
                    report.count(repaired)
                stored = pool.map(
                    lambda job_id: self._isolate(job_id, lambda: self._reader.read(job_id, listing)), missing
                )
                for job in stored:
                    if job:
                        report.count(self._restore(job, listing, int(now_s * 1000)))
                report.requests += len(chunk)
        self._store.integrity.mark_reconciled(run_id)
        return report

    def _repair(self, job: Job, listing: Listing) -> Outcome | None:
        """Apply a result or a cancel that a job's record does not have."""
        if job.status.is_terminal:
            return None
        if job.id in listing.results:
            try:
                if not self._finalizer.finalize_from_result(job.id):
                    return None
            except ClaimLost:  # it was withdrawn
                return None
            log.info("job.finalized_from_result", job_id=job.id)
            return "finalized"
        if job.id in listing.cancels and not job.cancel_requested:
            try:
                self._finalizer.cancel(job)
            except NotFound:
                return None
            return "cancelled"
        return None

    def _read(self, job_id: str, listing: Listing) -> StoredJob | None:
        return self._isolate(job_id, lambda: self._reader.read(job_id, listing))

    def _restore(self, job: StoredJob, listing: Listing, now_ms: int) -> Outcome | None:
        """Create the record of a job. Not in parallel: each call keeps the bound on a tenant's ended jobs."""
        if job.result:
            return self._isolate(job.request.id, lambda: self._restore_ended(job, listing, now_ms))
        return self._isolate(job.request.id, lambda: self._restore_waiting(job, listing, now_ms))

    def _restore_ended(self, job: StoredJob, listing: Listing, now_ms: int) -> Outcome | None:
        """Create the record of a job that has ended."""
        request, result, ended_ms = job.request, job.result, listing.results.get(job.request.id, now_ms)
        assert result is not None
        if ended_ms + (request.retention_ms or self._retention_ms) <= now_ms:
            return "past_retention"
        if not self._create_record(request, sealed_fields(request, result)):
            return None
        self._finish(result, listing, ended_ms)
        log.info("job.restored", job_id=request.id, status=result.status)
        return "ended"

    def _restore_waiting(self, stored: StoredJob, listing: Listing, now_ms: int) -> Outcome | None:
        """Create the record of a job that has not ended."""
        request, is_cancelled = stored.request, stored.request.id in listing.cancels
        if not self._create_record(request, waiting_fields(request, stored.prepared, now_ms)):
            return None
        if is_cancelled and (job := self._store.get(request.id)) is not None:
            self._finalizer.cancel(job)
        status = JobStatus.CANCELLED if is_cancelled else "queued" if stored.prepared else "preparing"
        log.info("job.restored", job_id=request.id, status=status)
        return "cancelled" if is_cancelled else "waiting"

    def _create_record(self, request: JobRequest, fields: RecordFields) -> bool:
        index_ms = request.expires_ms + self._retention_ms + DAY_MS
        return self._store.restore(
            request.id, fields, index_ms=index_ms, max_ended=self._max_ended, labels=labels(request.metadata)
        )

    def _finish(self, result: JobResult, listing: Listing, ended_ms: int) -> None:
        """End a restored job as its result says, without sending its settled deliveries again."""
        job_id = result.id
        found = [load_settled(self._object_store, delivery) for delivery in listing.settled.get(job_id, ())]
        settled = [delivery for delivery in found if delivery]
        states = {delivery.id: delivery.state for delivery in settled}
        self._finalizer.finalize_from_result(
            job_id, result=result, ended_ms=ended_ms, is_archived=job_id in listing.archived, deliveries=states
        )
        for delivery in settled:
            self._deliveries.restore_attempts(delivery.id, delivery.attempts, retention_ms=self._retention_ms)

    def _isolate(self, job_id: str, action: Callable[[], T]) -> T | None:
        """Do something for one job. It is skipped when that fails, so that the others do not wait.

        Raises:
            Unavailable, NotInitialized: a server does not answer.
        """
        for tries_left in reversed(range(OBJECT_TRIES)):
            try:
                return action()
            except Exception as error:
                if isinstance(error, ObjectUnavailable) and not isinstance(error, NewerDocument) and tries_left:
                    time.sleep(self._retry_s)
                elif isinstance(error, Unavailable | NotInitialized) and not isinstance(error, ObjectUnavailable):
                    raise
                else:
                    log.exception("recovery.job_skipped", job_id=job_id)
                    return None
        return None


def _chunks(job_ids: Iterable[str]) -> Iterator[Sequence[str]]:
    remaining = iter(job_ids)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk
