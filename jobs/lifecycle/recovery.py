"""Holding the job table against the objects, which outlive it: after Redis was lost, wholly or in its last second.

Requests, results, cancels and settled deliveries are flat prefixes, so four listings tell what is missing:

no record, no result    it waits again; what was prepared is not prepared anew
no record, a result     it has ended: a record that says so, and the deliveries that nobody has settled
no record, a cancel     it ends as cancelled
a record, and a result  whoever wrote it died before finish: it ends as the result says
a record, and a cancel  Redis forgot the wish: it is told again

Everything is created only where it is absent, so it is safe beside living workers, api processes, and itself.
"""

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, cast

import redis
import structlog

from jobs.errors import NotFound
from jobs.lifecycle.finalize import DAY_MS, JobFinalizer
from jobs.model.job import Job, JobStatus, Stage, new_claim
from jobs.model.prepared import PreparedInputs
from jobs.model.request import JobRequest
from jobs.model.result import JobResult
from jobs.objects.store import ObjectMissing, ObjectStore, job_folder, request_key, result_key
from jobs.table.deliveries import DeliveryState, DeliveryStore, tombstone_key
from jobs.table.integrity import Integrity
from jobs.table.listing import labels
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from runtime.settings import Settings

log = structlog.get_logger(__name__)

CHUNK = 200
READERS = 8
LATE_MS = 10 * 60 * 1000
"""A job that was prepared may have been running when the table was lost: for so long it may start again, whatever its
deadline was."""


@dataclass
class Report:
    requests: int = 0
    """Looked at."""
    waiting: int = 0
    """Records made of jobs that run (again)."""
    ended: int = 0
    """Records made of jobs that had ended."""
    cancelled: int = 0
    """Jobs whose cancel would have been forgotten."""
    adopted: int = 0
    """Records that went on to the end that their result says."""
    outlived: int = 0
    """Ended jobs whose retention is over: nothing was made of them."""

    def __str__(self) -> str:
        return (
            f"{self.requests} requests looked at: {self.waiting} jobs wait (again), {self.ended} had ended, "
            f"{self.cancelled} were cancelled, {self.adopted} end as their result says, "
            f"{self.outlived} have outlived their retention"
        )


@dataclass
class _Objects:
    """What the listings say."""

    requests: dict[str, int]
    """When each was accepted, in that order."""
    results: dict[str, int]
    cancels: set[str]
    archived: set[str]
    settled: dict[str, list[str]] = field(default_factory=dict)
    """Keys of tombstones by job."""


def recover(settings: Settings) -> Report:
    """Begin an epoch if there is none, and repair the table. May be called again.

    Raises:
        Unavailable: call it again; what was done stays.
    """
    client, object_store = connect(settings), ObjectStore(settings)
    object_store.ping()
    Integrity(client).begin_epoch(secrets.token_hex(8))
    return Recovery(client, object_store, settings).run()


class Recovery:
    def __init__(self, client: "redis.Redis", object_store: ObjectStore, settings: Settings) -> None:
        self._store = JobStore(client, lease_s=settings.lease_s)
        self._deliveries = DeliveryStore(client)
        self._object_store = object_store
        self._retention_ms = settings.retention_days * DAY_MS
        self._finalizer = JobFinalizer(self._store, object_store, retention_days=settings.retention_days)

    @property
    def is_needed(self) -> bool:
        """Has Redis started anew since the table was last held against the objects?"""
        return not self._store.integrity.is_reconciled()

    def run(self, *, stop: Callable[[], bool] = lambda: False) -> Report:
        """Repair the table. May be called again, and by several at once; stopped, it begins anew the next time.

        Raises:
            Unavailable: call it again.
        """
        run_id, now_s = self._store.integrity.server_clock()
        objects, report = self._listed(), Report()
        with ThreadPoolExecutor(READERS, "recovery") as pool:
            for chunk in _chunks(objects.requests):
                if stop():
                    return report
                jobs = self._store.get_many(chunk)
                known = [job for job in jobs if job]
                missing = [job_id for job_id, job in zip(chunk, jobs, strict=True) if job is None]
                for mended in pool.map(lambda job: self._mend(job, objects), known):
                    report.adopted += mended == "adopted"
                    report.cancelled += mended == "cancelled"
                requests = pool.map(self._request, missing)
                for request in (request for request in requests if request):
                    self._restore(request, objects, report, now_ms=int(now_s * 1000))
                report.requests += len(chunk)
        self._store.integrity.mark_reconciled(run_id)
        return report

    def _listed(self) -> _Objects:
        # Results last: a job that ends meanwhile looks open, and its record says otherwise.
        requests = sorted(self._object_store.ages("requests/"), key=lambda item: item[1])
        objects = _Objects(
            requests={_job_id(key): at for key, at in requests},
            cancels={_job_id(key) for key, _ in self._object_store.ages("cancels/")},
            archived={_job_id(key) for key, _ in self._object_store.ages("events/")},
            results={_job_id(key): at for key, at in self._object_store.ages("results/")},
        )
        for key, _ in self._object_store.ages("deliveries/"):
            delivery = key.removeprefix("deliveries/").removesuffix(".json")
            if (job_id := _job_of(delivery)) is not None:
                objects.settled.setdefault(job_id, []).append(delivery)
        return objects

    def _mend(self, job: Job, objects: _Objects) -> Literal["adopted", "cancelled"] | None:
        if job.status.is_terminal:
            return None
        if job.id in objects.results:
            if not self._finalizer.finalize_from_result(job.id):
                return None
            log.info("job.finalized_from_result", job_id=job.id)
            return "adopted"
        if job.id in objects.cancels and not job.cancel_requested:
            try:
                self._finalizer.cancel(job)
            except NotFound:
                return None
            return "cancelled"
        return None

    def _request(self, job_id: str) -> JobRequest | None:
        """None: it was removed in the meantime, or cannot be read."""
        try:
            return JobRequest.from_json(self._object_store.get(request_key(job_id)))
        except ObjectMissing:
            return None
        except (ValueError, KeyError, TypeError):
            log.exception("recovery.unreadable", key=request_key(job_id))
            return None

    def _restore(self, request: JobRequest, objects: _Objects, report: Report, *, now_ms: int) -> None:
        # Looked at once more, because the listing is older than the record that was not there.
        result, ended_ms = self._result(request.id), objects.results.get(request.id, now_ms)
        if result is not None:
            if ended_ms + (request.retention_ms or self._retention_ms) <= now_ms:
                report.outlived += 1
                return
            if self._make(request, _ended_fields(request, result), cost=0):
                self._adopt(request.id, objects, ended_ms)
                report.ended += 1
                log.info("job.restored", job_id=request.id, status=result.status)
        elif request.id in objects.cancels:
            if self._make(request, _waiting_fields(request, None, now_ms), cost=1):
                job = self._store.get(request.id)
                if job is not None:
                    self._finalizer.cancel(job)
                report.cancelled += 1
                log.info("job.restored", job_id=request.id, status=JobStatus.CANCELLED)
        else:
            prepared = self._prepared(request.id)
            cost = prepared[1].required_tokens if prepared else 1
            if self._make(request, _waiting_fields(request, prepared, now_ms), cost=cost):
                report.waiting += 1
                log.info("job.restored", job_id=request.id, status="queued" if prepared else "preparing")

    def _make(self, request: JobRequest, fields: dict[str, str | int], *, cost: int) -> bool:
        index_ms = request.expires_ms + self._retention_ms + DAY_MS
        return self._store.restore(request.id, fields, cost=cost, index_ms=index_ms, labels=labels(request.metadata))

    def _adopt(self, job_id: str, objects: _Objects, ended_ms: int) -> None:
        graves = {delivery: self._tombstone(delivery) for delivery in objects.settled.get(job_id, ())}
        states = {delivery: state for delivery, (state, _) in graves.items()}
        self._finalizer.finalize_from_result(
            job_id, ended_ms=ended_ms, is_archived=job_id in objects.archived, deliveries=states
        )
        for delivery, (_, lines) in graves.items():
            self._deliveries.restore_attempts(delivery, lines, retention_ms=self._retention_ms)

    def _tombstone(self, delivery: str) -> tuple[DeliveryState, list[str]]:
        grave = self._object_store.get_json(tombstone_key(delivery))
        return cast("DeliveryState", grave["state"]), [json.dumps(attempt) for attempt in grave["attempts"]]

    def _result(self, job_id: str) -> JobResult | None:
        try:
            return JobResult.from_json(self._object_store.get(result_key(job_id)))
        except ObjectMissing:
            return None

    def _prepared(self, job_id: str) -> tuple[str, PreparedInputs] | None:
        """The newest inputs that somebody has made ready, with their folder."""
        folder = f"{job_folder(job_id)}/"
        found = sorted(
            ((at, key) for key, at in self._object_store.ages(folder) if key.endswith("/prepared.json")), reverse=True
        )
        for _, key in found:
            inputs = PreparedInputs.from_json(self._object_store.get(key))
            if inputs.required_tokens:
                return key.removeprefix(folder).removesuffix("/prepared.json"), inputs
        return None


def _waiting_fields(
    request: JobRequest, prepared: tuple[str, PreparedInputs] | None, now_ms: int
) -> dict[str, str | int]:
    fields = _fields(request)
    if prepared is None:
        return {**fields, "status": JobStatus.PREPARING, "stage": Stage.PREPARE}
    deadline = max(request.created_ms + request.expires_ms, now_ms + LATE_MS)
    fields |= {
        "prepared": prepared[0],
        "required": prepared[1].required_tokens,
        "prepared_at": now_ms,
        "deadline": deadline,
    }
    return {**fields, "status": JobStatus.QUEUED, "stage": Stage.GENERATE}


def _ended_fields(request: JobRequest, result: JobResult) -> dict[str, str | int]:
    """Sealed, for whoever finishes it; its times as far as the result tells them."""
    fields = {**_fields(request), "stage": Stage.GENERATE if result.timings else Stage.PREPARE}
    fields |= {"status": JobStatus.RUNNING if result.timings else JobStatus.PREPARING, "attempt": result.attempt}
    fields |= {"sealed": result.status, "claim": new_claim(), "error": result.error_code[:64]}
    fields["tokens"] = int(sum(result.usage.get(kind, 0) for kind in ("thinking_tokens", "answer_tokens")))
    if result.timings:
        prepared = request.created_ms + int(result.timings.get("prepared_ms", 0))
        fields |= {"prepared_at": prepared, "started": prepared + int(result.timings.get("queued_ms", 0))}
    return fields


def _fields(request: JobRequest) -> dict[str, str | int]:
    return {
        "tenant": request.tenant,
        "priority": request.priority,
        "attempt": 0,
        "claim": "",
        "lost_leases": 0,
        "created": request.created_ms,
        "deadline": request.created_ms + request.expires_ms,
        "events": " ".join(request.callback.events) if request.callback else "",
        "copies": len(request.result_urls),
        "keep": request.retention_ms or 0,
    }


def _job_id(key: str) -> str:
    return key.partition("/")[2].partition(".")[0]


def _job_of(delivery: str) -> str | None:
    """``evt_<job>_<status>`` and ``copy_<job>_<number>``; None: of a test event."""
    kind, _, rest = delivery.partition("_")
    job_id, _, _ = rest.rpartition("_")
    return job_id if kind in ("evt", "copy") and job_id.startswith("job_") else None


def _chunks(job_ids: Iterable[str]) -> Iterator[Sequence[str]]:
    left = iter(job_ids)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
