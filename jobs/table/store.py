"""The job table: a method for each Lua script that a job's life needs."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, cast

import redis
import structlog

from jobs.errors import Cancelled, ClaimLost, JobWithdrawn, JournalGap, RecordMissing, ThinkqueueError
from jobs.model.events import STREAM_RETENTION_MS, Event
from jobs.model.job import RECORD_VERSION, Job, JobStatus, Stage
from jobs.model.usage import USAGE_RETENTION_MS, Usage
from jobs.table import keys
from jobs.table.appends import Append, append_many
from jobs.table.intake.admission import AdmissionControl
from jobs.table.integrity import Integrity
from jobs.table.scripts import LuaScripts, translate_redis_errors
from jobs.table.types import (
    AcceptResult,
    CancelReply,
    ClaimedJob,
    LeaseSignal,
    Precondition,
    Release,
    ReleaseCause,
    SealResult,
    WorkerStatus,
)

log = structlog.get_logger(__name__)

INDEX_MS = 40 * 24 * 3600 * 1000
"""How long a tenant's lists are kept after the last job was added, unless the retention is longer."""
MAX_ENDED_JOBS = 20_000
"""Default of the setting with this name."""
MAX_ERROR_RELEASES = 6
"""Releases after an error, while other jobs pass the stage; then the job fails. With the delays below, after 46 s."""
ERROR_DELAYS_MS = (1_000, 15_000)
"""Shortest and longest time until a job can be claimed again; it doubles with each counted error."""
LATE_WRITER_MS = 15 * 60 * 1000
"""A process that was frozen may write objects of a deleted job this long afterwards: no presigned PUT lives longer than
ten minutes, and an S3 server refuses other requests that were signed more than 15 minutes ago."""


class JobStore:
    """The job table in Redis. Safe to share between threads.

    Every method raises StoreUnavailable when Redis does not answer, and RecoveryNeeded when the table is lost.

    Args:
        lease_s: how long a claim or a seal lasts without a heartbeat.
    """

    def __init__(self, client: "redis.Redis", *, lease_s: float) -> None:
        self._redis = client
        self._scripts = LuaScripts(client)
        self.lease_s = lease_s
        self._lease_ms = round(lease_s * 1000)
        self.integrity = Integrity(client)
        self.admission = AdmissionControl(client)

    # ── intake ──

    def accept(
        self,
        job_id: str,
        *,
        tenant: str,
        priority: str,
        expires_ms: int,
        events: Sequence[str],
        copies: int = 0,
        retention_ms: int = 0,
        index_ms: int = INDEX_MS,
        max_ended: int = MAX_ENDED_JOBS,
        labels: Sequence[str] = (),
    ) -> AcceptResult:
        """Create a job's record unless it exists, and queue the job.

        Args:
            expires_ms: from now to its deadline.
            events: statuses that its callback asks for.
            copies: number of result copies to upload.
            retention_ms: its own retention; 0: the service's.
            index_ms: how long the tenant's lists are kept after the last job was added.
            max_ended: ended jobs of the tenant that Redis keeps; the oldest ones leave it.
            labels: see ``listing.labels``.

        Raises:
            JobWithdrawn: the job was withdrawn or deleted meanwhile.
        """
        limits = (expires_ms, " ".join(events), copies, retention_ms, index_ms, self._lease_ms, max_ended)
        reply = self._scripts.call("accept", job_id, tenant, priority, RECORD_VERSION, *limits, *labels)
        if reply[0] == "removed":
            raise JobWithdrawn
        is_new = reply[0] == "ok"
        if is_new:
            fields = {"tenant": tenant, "priority": priority, "status": JobStatus.PREPARING, "stage": Stage.PREPARE}
            fields |= {"created_ms": reply[3], "deadline_ms": reply[4], "retention_ms": str(retention_ms)}
        else:
            fields = dict(zip(reply[3::2], reply[4::2], strict=True))
        job, position = Job.from_hash(job_id, fields), int(reply[2]) if reply[2] else None
        return AcceptResult(job, is_new=is_new, needs_wakeup=reply[1] == "1", position=position)

    def cancel(self, job_id: str) -> CancelReply:
        """Request that a job's worker ends it. After ``unclaimed`` the caller must end it."""
        return cast("CancelReply", self._scripts.call("cancel", job_id)[0])

    def delete(self, job_id: str) -> bool:
        """Delete an ended job's rows. False: it has not ended."""
        return self._scripts.call("delete", job_id, LATE_WRITER_MS)[0] == "ok"

    def withdraw(self, job_id: str, *, only_without_record: bool = False) -> Literal["ok", "exists", "ended", "full"]:
        """Remove a job that was not accepted, also one that a worker has; its record cannot be created afterwards.

        Args:
            only_without_record: leave a job alone that has a record.

        Returns:
            ``exists``, ``ended``, ``full``: nothing was written, because the job has a record, or has ended, or because
            too many withdrawn jobs wait for a keeper to delete their objects.
        """
        reply = self._scripts.call("withdraw", job_id, LATE_WRITER_MS, int(only_without_record))
        return cast("Literal['ok', 'exists', 'ended', 'full']", reply[0])

    def has_forgotten_jobs(self, tenant: str) -> bool:
        """Whether ended jobs of a tenant have left Redis before their retention ended."""
        with translate_redis_errors():
            return bool(self._redis.hexists(keys.tenant(tenant), "forgotten"))

    def is_removed(self, job_id: str) -> bool:
        """Whether the job was deleted or withdrawn within ``LATE_WRITER_MS``."""
        with translate_redis_errors():
            return self._redis.zscore(keys.REMOVED, job_id) is not None

    def get(self, job_id: str) -> Job | None:
        return self.get_many([job_id])[0]

    def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """Read records in one round trip; None for those that do not exist, or are damaged, which is logged."""
        with translate_redis_errors():
            pipe = self._redis.pipeline(transaction=False)
            for job_id in job_ids:
                pipe.hgetall(keys.job(job_id))
            rows = cast("list[dict[str, str]]", pipe.execute())
        return [_parse(job_id, row) if row else None for job_id, row in zip(job_ids, rows, strict=True)]

    def restore(
        self,
        job_id: str,
        fields: Mapping[str, str | int],
        *,
        index_ms: int = INDEX_MS,
        max_ended: int = MAX_ENDED_JOBS,
        labels: Sequence[str] = (),
    ) -> bool:
        """Create a record from a job's objects. False: it exists, or the job was deleted or withdrawn meanwhile."""
        pairs = [item for pair in {"version": RECORD_VERSION, **fields}.items() for item in pair]
        limits = (index_ms, self._lease_ms, max_ended)
        reply = self._scripts.call("restore", job_id, *limits, len(labels), *labels, *pairs)
        return reply[0] == "ok"

    # ── execution ──

    def claim(
        self,
        stage: Stage,
        *,
        claim: str,
        worker: str,
        free_tokens: int = 0,
        served_tenants: Collection[str] = (),
        has_free_slot: bool = False,
    ) -> ClaimedJob | None:
        """Claim the best waiting job of a stage, if it fits into ``free_tokens`` of KV cache.

        Args:
            served_tenants: tenants whose jobs are not claimed, because the worker has no slot for them.
            has_free_slot: the worker has a slot for other tenants. False: with ``served_tenants``, nothing is claimed
                while another worker has a free slot.
        """
        limits = (free_tokens, self._lease_ms, RECORD_VERSION, int(has_free_slot))
        reply = self._scripts.call("claim", stage, claim, worker[:64], *limits, *served_tenants)
        if reply[0] != "ok":
            return None
        job_id, last_seq, now_ms, pairs = reply[1], int(reply[2]), int(reply[3]), reply[4:]
        job = Job.from_hash(job_id, dict(zip(pairs[::2], pairs[1::2], strict=True)))
        return ClaimedJob(job, last_seq, ran_ms=max(0, now_ms - job.started_ms) if job.started_ms else 0)

    def confirm_claim(self, job_id: str, claim: str) -> LeaseSignal:
        """Record that the worker has received the reply to its claim. Until then a lost lease is not counted."""
        return cast("LeaseSignal", self._scripts.call("confirm_claim", job_id, claim)[0])

    def heartbeat(self, worker: WorkerStatus, claims: dict[str, str]) -> dict[str, LeaseSignal]:
        """Renew the leases of ``{job id: claim}`` and return what became of each job."""
        pairs = [item for pair in claims.items() for item in pair]
        load = (worker.engine_load.kv_free_tokens, round(worker.engine_load.tokens_per_s, 1))
        status = (worker.id, worker.stage, worker.state, worker.slots, worker.free, self._lease_ms, *load)
        reply = self._scripts.call("heartbeat", *status, *pairs)
        return dict(zip(claims, cast("list[LeaseSignal]", reply[1:]), strict=True))

    def append(self, job_id: str, claim: str, events: Sequence[Event], *, tokens: int) -> LeaseSignal:
        """Append events to a running job's stream; without events, only ask whether the worker may continue.

        Args:
            tokens: generated so far.

        Raises:
            JournalGap: events before these are missing; nothing was written.
        """
        entries = [item for event in events for item in event.to_fields()]
        reply = self._scripts.call("append", job_id, claim, tokens, *entries)
        if reply[0] == "gap":
            raise JournalGap(int(reply[1]))
        return cast("LeaseSignal", reply[0])

    def append_many(self, appends: Sequence[Append]) -> list[LeaseSignal | ThinkqueueError]:
        """``append`` for several jobs (see ``appends.append_many``)."""
        return append_many(self._scripts, appends)

    def mark_prepared(
        self,
        job_id: str,
        claim: str,
        *,
        folder: str,
        required_tokens: int,
        cost_s: float | None = None,
        slot_s: float | None = None,
    ) -> None:
        """Move a job to the queue of the generate stage.

        Args:
            cost_s: what its tenant is charged, in seconds of a decoder; None: the time since the claim.
            slot_s: how long it has taken one of the worker's slots, for scaling; None: the time since the claim.

        Raises:
            ClaimLost, Cancelled
        """
        cost = "" if cost_s is None else cost_s
        slot_ms = "" if slot_s is None else slot_s * 1000
        self._call_fenced("mark_prepared", job_id, claim, folder, required_tokens, cost, slot_ms)

    def release(self, job_id: str, claim: str, *, cause: ReleaseCause = "stop", cost_s: float | None = None) -> Release:
        """Return a claimed job to its queue; after an error with a delay.

        Args:
            cause: ``loss`` counts a lost lease. ``error`` counts if other jobs pass the stage meanwhile.
            cost_s: what its tenant is charged for the prepare stage, as in ``mark_prepared``.

        Raises:
            ClaimLost
            Cancelled: end it instead.
        """
        limits = (MAX_ERROR_RELEASES, *ERROR_DELAYS_MS)
        reply = self._scripts.call("release", job_id, claim, cause, "" if cost_s is None else cost_s, *limits)
        if reply[0] == "exhausted":
            return Release(is_exhausted=True, others_pass=True)
        _raise_refusal(reply[0])
        return Release(is_exhausted=False, others_pass=reply[1] == "1")

    def report_progress(self, job_id: str, claim: str, *, done: int, total: int) -> None:
        """Record how many of a job's media are ready. Raises ClaimLost, Cancelled."""
        self._call_fenced("report_progress", job_id, claim, f"{done}/{total}")

    def _call_fenced(self, script: str, *args: str | float) -> None:
        _raise_refusal(self._scripts.call(script, *args)[0])

    def events(self, job_id: str, *, after: int = 0) -> list[Event]:
        """Read a job's events with a sequence number above ``after``; at most what fits into one context window."""
        with translate_redis_errors():
            entries = self._redis.xrange(keys.stream(job_id), min=f"({after}-0")
        rows = cast("list[tuple[str, dict[str, str]]]", entries)
        return [Event.from_entry(entry_id, fields) for entry_id, fields in rows]

    # ── the end of a job ──

    def seal(self, job_id: str, *, sealer: str, status: JobStatus, error: str, expect: Precondition) -> SealResult:
        """Step one of an end. The same sealer may repeat it.

        Raises:
            RecordMissing
            ClaimLost: the precondition does not hold.
        """
        reply = self._scripts.call("seal", job_id, sealer, status, error[:64], self._lease_ms, expect)
        if reply[0] == "ok":
            return SealResult(None, int(reply[1]) if reply[1] else None)
        if reply[0] == "ended":
            return SealResult(JobStatus(reply[1]), None)
        raise RecordMissing if reply[0] == "unknown" else ClaimLost

    def finish(
        self,
        job_id: str,
        *,
        status: JobStatus,
        error: str,
        event_data: str,
        usage: Usage,
        retention_ms: int,
        ended_ms: int = 0,
        is_archived: bool = False,
        deliveries: Mapping[str, str] | None = None,
    ) -> bool:
        """Step three of an end. False: the job had ended before, or its record is missing.

        Args:
            event_data: JSON of the ``ended`` event.
            ended_ms: when it ended, for a job that ended before its table was lost; 0: now.
            is_archived: its events are in the object store already.
            deliveries: states of those that are settled already.
        """
        amounts = (usage.input_tokens, usage.thinking_tokens, usage.answer_tokens, usage.gpu_ms)
        settled = [item for pair in (deliveries or {}).items() for item in pair]
        retention = (retention_ms, USAGE_RETENTION_MS)
        result = (status, error[:64], event_data, *retention, *amounts, ended_ms, int(is_archived))
        return self._scripts.call("finish", job_id, *result, *settled)[0] == "ok"

    def mark_archived(self, job_id: str) -> None:
        """Record that a job's events are in the object store. Here they stay for ten minutes, for current readers."""
        with translate_redis_errors():
            self._redis.pexpire(keys.stream(job_id), STREAM_RETENTION_MS)
            self._redis.zrem(keys.UNARCHIVED, job_id)

    # ── workers ──

    def needs_wakeup(self, stage: Stage, *, full_worker: str = "", tenant: str = "") -> bool:
        """Whether jobs wait in a stage and too few wake-up messages are in its list.

        Args:
            full_worker: a worker without a free slot; then the answer is True only if another one has a free slot.
            tenant: whose job was added. While no worker has a free slot, the answer is False for a tenant with many
                waiting jobs: workers claim them when a slot becomes free.
        """
        return self._scripts.call("needs_wakeup", stage, self._lease_ms, full_worker, tenant)[0] == "ok"

    def pending_wakeups(self, stage: Stage) -> int:
        """Return the number of wake-up messages that no worker has received yet."""
        with translate_redis_errors():
            return int(self._redis.llen(keys.wakeups(stage)))

    def workers(self) -> list[WorkerStatus]:
        """Return the workers with a heartbeat within one lease."""
        found = []
        with translate_redis_errors():
            seconds, micros = self._redis.time()
            alive_since = seconds * 1000 + micros // 1000 - self._lease_ms
            for worker in cast("list[str]", self._redis.zrangebyscore(keys.WORKERS, alive_since, "+inf")):
                row = cast("dict[str, str]", self._redis.hgetall(keys.worker(worker)))
                if row:
                    found.append(WorkerStatus(worker, row["stage"], row["state"], int(row["slots"]), int(row["free"])))
        return found


def _parse(job_id: str, row: Mapping[str, str]) -> Job | None:
    """Return a record; None if it is damaged: it must not stop the work on the others that are read with it."""
    try:
        return Job.from_hash(job_id, row)
    except (KeyError, ValueError) as error:
        log.error("job.record_damaged", job_id=job_id, detail=repr(error))
        return None


def _raise_refusal(word: str) -> None:
    """Raise the error that a script's first word stands for, unless it is ``ok``."""
    if word == "cancel":
        raise Cancelled
    if word != "ok":
        raise ClaimLost
