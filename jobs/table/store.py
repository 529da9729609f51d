"""The job table: a method for each script in ``lua/``, and what a refusal means."""

from collections.abc import Mapping, Sequence
from typing import cast

import redis

from jobs.errors import Cancelled, ClaimLost, IntakeClosed, JournalGap, Overloaded, RecordMissing, TenantFull
from jobs.model.events import STREAM_RETENTION_MS, Event
from jobs.model.job import RECORD_VERSION, Job, JobStatus, Stage
from jobs.model.usage import USAGE_RETENTION_MS, Usage
from jobs.table.integrity import Integrity
from jobs.table.scripts import LuaScripts, translate_redis_errors
from jobs.table.types import (
    AcceptResult,
    AdmissionCheck,
    CancelReply,
    ClaimedJob,
    LeaseSignal,
    Precondition,
    SealResult,
    WorkerStatus,
)

INDEX_MS = 40 * 24 * 3600 * 1000
"""How long a tenant's lists remember a job, unless retention asks for more."""

REPEAT_WINDOW_MS = 10 * 60 * 1000
"""An automatic retry comes within seconds; a person who sends the same again means it."""


class JobStore:
    """The job table in Redis. Safe to share between threads.

    Every method raises StoreUnavailable when Redis does not answer, RecoveryNeeded when its table is gone.
    """

    def __init__(self, client: "redis.Redis", *, lease_s: float) -> None:
        self._redis = client
        self._scripts = LuaScripts(client)
        self.lease_s = lease_s
        self._lease_ms = round(lease_s * 1000)
        self.integrity = Integrity(client)

    # ── intake ──

    def check_admission(
        self,
        job_id: str,
        *,
        tenant: str,
        max_waiting: int,
        max_open: int = 0,
        body: str = "",
        is_repeat: bool = False,
    ) -> AdmissionCheck:
        """May this job come in?

        Args:
            max_open: of the tenant, not ended yet; 0: any number.
            body: its hash; it is remembered for ten minutes. Empty: it is not.
            is_repeat: a client library sends the body again by itself.

        Raises:
            Overloaded: no more jobs may come in, or no more of this tenant.
            IntakeClosed: an operator has shut the door.
        """
        reply = self._scripts.call(
            "check", job_id, tenant, max_waiting, max_open, body[:32], int(is_repeat), REPEAT_WINDOW_MS
        )
        if reply[0] == "closed":
            raise IntakeClosed
        if reply[0] == "tenant_full":
            raise TenantFull(f"{reply[1]} of your jobs have not ended, the limit is {max_open}; try again later.")
        if reply[0] == "queue_full":
            raise Overloaded(f"{reply[1]} jobs wait already, the limit is {max_waiting}; try again later.")
        if reply[0] == "memory_full":
            raise Overloaded(f"Redis uses {reply[1]} of {reply[2]} bytes; try again when jobs have ended.")
        return AdmissionCheck(reply[1], 0) if reply[0] == "known" else AdmissionCheck(None, int(reply[1]))

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
        labels: Sequence[str] = (),
    ) -> AcceptResult:
        """Create a job's record, unless it is there."""
        listed = " ".join(events)
        reply = self._scripts.call(
            "accept",
            job_id,
            tenant,
            priority,
            RECORD_VERSION,
            expires_ms,
            listed,
            copies,
            retention_ms,
            index_ms,
            self._lease_ms,
            *labels,
        )
        is_new = reply[0] == "ok"
        if is_new:
            fields = {"tenant": tenant, "priority": priority, "status": JobStatus.PREPARING, "stage": Stage.PREPARE}
            fields |= {"created": reply[3], "deadline": reply[4], "keep": str(retention_ms)}
        else:
            fields = dict(zip(reply[3::2], reply[4::2], strict=True))
        return AcceptResult(
            Job.from_hash(job_id, fields),
            is_new=is_new,
            needs_wakeup=reply[1] == "1",
            position=int(reply[2]) if reply[2] else None,
        )

    def cancel(self, job_id: str) -> CancelReply:
        """Ask a job's worker to end it; ``waiting``: nobody has it, the caller must end it."""
        return cast("CancelReply", self._scripts.call("cancel", job_id)[0])

    def delete(self, job_id: str) -> bool:
        """Remove an ended job's rows. False: it has not ended."""
        return self._scripts.call("forget", job_id)[0] == "ok"

    def get(self, job_id: str) -> Job | None:
        with translate_redis_errors():
            fields = cast("dict[str, str]", self._redis.hgetall(f"job:{job_id}"))
        return Job.from_hash(job_id, fields) if fields else None

    def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """In one call."""
        with translate_redis_errors():
            pipe = self._redis.pipeline(transaction=False)
            for job_id in job_ids:
                pipe.hgetall(f"job:{job_id}")
            rows = cast("list[dict[str, str]]", pipe.execute())
        return [Job.from_hash(job_id, row) if row else None for job_id, row in zip(job_ids, rows, strict=True)]

    def restore(
        self,
        job_id: str,
        fields: Mapping[str, str | int],
        *,
        cost: int,
        index_ms: int = INDEX_MS,
        labels: Sequence[str] = (),
    ) -> bool:
        """Create a record out of a job's objects. False: there is one."""
        pairs = [item for pair in {"v": RECORD_VERSION, **fields}.items() for item in pair]
        reply = self._scripts.call("restore", job_id, cost, index_ms, self._lease_ms, len(labels), *labels, *pairs)
        return reply[0] == "ok"

    # ── a worker's life ──

    def claim(self, stage: Stage, *, claim: str, worker: str, free_tokens: int = 0) -> ClaimedJob | None:
        """The best waiting job of a stage, if it fits into ``free_tokens`` of KV cache."""
        reply = self._scripts.call("claim", stage, claim, worker[:64], free_tokens, self._lease_ms, RECORD_VERSION)
        if reply[0] != "ok":
            return None
        job_id, last_seq, now_ms, pairs = reply[1], int(reply[2]), int(reply[3]), reply[4:]
        job = Job.from_hash(job_id, dict(zip(pairs[::2], pairs[1::2], strict=True)))
        return ClaimedJob(job, last_seq, ran_ms=max(0, now_ms - job.started_ms) if job.started_ms else 0)

    def heartbeat(self, worker: WorkerStatus, claims: dict[str, str]) -> dict[str, LeaseSignal]:
        """Renew the leases of ``{job id: claim}``; says of each job whether to go on."""
        pairs = [item for pair in claims.items() for item in pair]
        load = worker.engine_load
        told = (worker.slots, worker.free, self._lease_ms, load.kv_free_tokens, round(load.tokens_per_s, 1))
        reply = self._scripts.call("heartbeat", worker.id, worker.stage, worker.state, *told, *pairs)
        return dict(zip(claims, cast("list[LeaseSignal]", reply[1:]), strict=True))

    def append(self, job_id: str, claim: str, events: Sequence[Event], *, tokens: int) -> LeaseSignal:
        """Write events; without any, only ask whether to go on.

        Raises:
            JournalGap: events before these are missing; nothing was written.
        """
        packed = [item for event in events for item in event.to_fields()]
        reply = self._scripts.call("append", job_id, claim, tokens, *packed)
        if reply[0] == "gap":
            raise JournalGap(int(reply[1]))
        return cast("LeaseSignal", reply[0])

    def mark_prepared(self, job_id: str, claim: str, *, folder: str, required_tokens: int) -> None:
        """Hand a job on to the generate stage. Raises ClaimLost, Cancelled."""
        self._fenced("prepared", job_id, claim, folder, required_tokens)

    def release(self, job_id: str, claim: str, *, is_loss: bool = False) -> None:
        """Hand a job back; ``is_loss``: the worker goes down, maybe because of it. Raises ClaimLost, Cancelled."""
        self._fenced("release", job_id, claim, int(is_loss))

    def report_progress(self, job_id: str, claim: str, *, done: int, total: int) -> None:
        """Tell how many of a job's media are ready. Raises ClaimLost, Cancelled."""
        self._fenced("progress", job_id, claim, f"{done}/{total}")

    def _fenced(self, script: str, *args: str | int) -> None:
        reply = self._scripts.call(script, *args)
        if reply[0] == "cancel":
            raise Cancelled
        if reply[0] != "ok":
            raise ClaimLost

    def events(self, job_id: str, *, after: int = 0) -> list[Event]:
        """A job's events behind ``after``; at most what one context window can hold."""
        with translate_redis_errors():
            entries = cast(
                "list[tuple[str, dict[str, str]]]", self._redis.xrange(f"stream:{job_id}", min=f"({after}-0")
            )
        return [Event.from_entry(entry_id, fields) for entry_id, fields in entries]

    # ── an end ──

    def seal(self, job_id: str, *, sealer: str, status: JobStatus, error: str, expect: Precondition) -> SealResult:
        """Step one of an end. May be called again by the same sealer.

        Raises:
            RecordMissing
            ClaimLost: the job is not the sealer's to end.
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
        """Step three of an end. False: it had ended already, or its record is gone.

        Args:
            ended_ms: when, for a job that ended before its table was lost; 0: now.
            is_archived: its events are in the object store already.
            deliveries: states of those that are settled already.
        """
        amounts = (usage.input_tokens, usage.thinking_tokens, usage.answer_tokens, usage.gpu_ms)
        reply = self._scripts.call(
            "finish",
            job_id,
            status,
            error[:64],
            event_data,
            retention_ms,
            USAGE_RETENTION_MS,
            *amounts,
            ended_ms,
            int(is_archived),
            *(item for pair in (deliveries or {}).items() for item in pair),
        )
        return reply[0] == "ok"

    def mark_archived(self, job_id: str) -> None:
        """Its stream is in the object store: here it stays for those who read it now."""
        with translate_redis_errors():
            self._redis.pexpire(f"stream:{job_id}", STREAM_RETENTION_MS)
            self._redis.zrem("archive", job_id)

    # ── bells and those who hear them ──

    def needs_wakeup(self, stage: Stage) -> bool:
        return self._scripts.call("wakeup", stage, self._lease_ms)[0] == "ok"

    def pending_wakeups(self, stage: Stage) -> int:
        """Doorbells that nobody has heard yet."""
        with translate_redis_errors():
            return int(self._redis.llen(stage.value))

    def workers(self) -> list[WorkerStatus]:
        """Those that beat within a lease."""
        found = []
        with translate_redis_errors():
            seconds, micros = self._redis.time()
            alive_since = seconds * 1000 + micros // 1000 - self._lease_ms
            for worker in cast("list[str]", self._redis.zrangebyscore("workers", alive_since, "+inf")):
                row = cast("dict[str, str]", self._redis.hgetall(f"worker:{worker}"))
                if row:
                    found.append(WorkerStatus(worker, row["stage"], row["state"], int(row["slots"]), int(row["free"])))
        return found
