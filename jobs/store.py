"""The job table: a method for each script in ``lua/``, and what a refusal means."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from jobs.errors import ClaimLost, NotInitialised, Overloaded, RecoveryNeeded, StoreUnavailable
from jobs.events import STREAM_RETENTION_MS, Event
from jobs.record import LEASE_MS, MAX_LOSSES, RECORD_VERSION, Job, JobStatus, Stage
from jobs.settings import Settings

SCRIPTS = Path(__file__).parent / "lua"
WORKER_GONE_MS = 4 * LEASE_MS
DELIVERY_CLAIM_MS = 60_000
"""How long a keeper has for one attempt at a webhook before another may take the row."""

Expect = Literal["owner", "waiting", "late"]
Signal = Literal["ok", "cancel", "lost", "unknown"]


@dataclass(frozen=True, slots=True)
class Claimed:
    job: Job
    last_seq: int
    """Of the newest event in its stream."""


@dataclass(frozen=True, slots=True)
class Worker:
    id: str
    stage: str
    state: str
    slots: int
    free: int


@dataclass(frozen=True, slots=True)
class DueDelivery:
    id: str
    """Also the event's id: ``evt_<job>_<type>``, the same for each attempt."""
    job_id: str
    event: str
    attempts: int
    age_ms: int


def connect(settings: Settings) -> "redis.Redis":
    """A client whose every call ends within a few seconds, whatever the server does."""
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        decode_responses=True,
        socket_timeout=1.5,
        socket_connect_timeout=1,
        socket_keepalive=True,
        health_check_interval=10,
        # Safe to repeat: every script gives the same answer when it is called twice.
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.02), retries=1),
    )


@contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except redis.OutOfMemoryError as error:
        raise Overloaded("Redis is out of memory; running jobs must end first.") from error
    except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError, redis.ReadOnlyError) as error:
        raise StoreUnavailable from error


@cache
def _source(name: str) -> str:
    """A script with the prelude behind its shebang line, which Redis wants first."""
    shebang, body = (SCRIPTS / f"{name}.lua").read_text("utf-8").split("\n", 1)
    return f"{shebang}\n{(SCRIPTS / 'prelude.lua').read_text('utf-8')}\n{body}"


class JobStore:
    """The job table in Redis. Safe to share between threads.

    Every method raises StoreUnavailable when Redis does not answer, RecoveryNeeded when its table is gone.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._scripts = {
            path.stem: client.register_script(_source(path.stem))
            for path in SCRIPTS.glob("*.lua")
            if path.stem != "prelude"
        }

    def _call(self, script: str, *args: str | int | float) -> list[str]:
        with _answers():
            reply = cast("list[str | int]", self._scripts[script](args=list(args)))
        words = [str(item) for item in reply]
        if words[0] == "recovery_needed":
            raise RecoveryNeeded
        return words

    # ── epoch ──

    def ping(self) -> None:
        with _answers():
            self._redis.ping()

    def epoch(self) -> str | None:
        with _answers():
            return cast("str | None", self._redis.get("epoch"))

    def begin_epoch(self, epoch: str) -> str:
        """Set the epoch unless there is one; returns the one that holds."""
        with _answers():
            self._redis.set("epoch", epoch, nx=True)
        return self.epoch() or epoch

    def require_epoch(self) -> None:
        if self.epoch() is None:
            raise NotInitialised

    def server_clock(self) -> tuple[str, float]:
        """Redis' run id and its time in seconds. Another run id: it restarted, and may have lost its last second."""
        with _answers():
            run_id = str(self._redis.info("server")["run_id"])
            seconds, micros = self._redis.time()
        return run_id, seconds + micros / 1e6

    # ── intake ──

    def check(self, *, max_waiting: int) -> None:
        """Raises Overloaded when no more jobs may come in."""
        reply = self._call("check", max_waiting)
        if reply[0] == "queue_full":
            raise Overloaded(f"{reply[1]} jobs wait already, the limit is {max_waiting}; try again later.")
        if reply[0] == "memory_full":
            raise Overloaded(f"Redis uses {reply[1]} of {reply[2]} bytes; try again when jobs have ended.")

    def accept(self, job_id: str, *, tenant: str, lane: str, expires_ms: int, events: Sequence[str]) -> bool:
        """Create a job's record. False: it is there already, which is as good."""
        reply = self._call("accept", job_id, tenant, lane, RECORD_VERSION, expires_ms, " ".join(events))
        return reply[0] == "ok"

    def get(self, job_id: str) -> Job | None:
        with _answers():
            fields = cast("dict[str, str]", self._redis.hgetall(f"job:{job_id}"))
        return Job.from_hash(job_id, fields) if fields else None

    # ── a worker's life ──

    def claim(self, stage: Stage, *, claim: str, worker: str, room_tokens: int = 0) -> Claimed | None:
        """The best waiting job of a stage, if it fits into ``room_tokens`` of KV cache."""
        reply = self._call("claim", stage, claim, worker[:64], room_tokens, LEASE_MS, RECORD_VERSION)
        if reply[0] != "ok":
            return None
        job_id, last_seq, pairs = reply[1], int(reply[2]), reply[3:]
        return Claimed(Job.from_hash(job_id, dict(zip(pairs[::2], pairs[1::2], strict=True))), last_seq)

    def heartbeat(self, worker: Worker, claims: dict[str, str]) -> dict[str, Signal]:
        """Renew the leases of ``{job id: claim}``; says of each job whether to go on."""
        pairs = [item for pair in claims.items() for item in pair]
        reply = self._call(
            "heartbeat", worker.id, worker.stage, worker.state, worker.slots, worker.free, LEASE_MS, *pairs
        )
        return dict(zip(claims, cast("list[Signal]", reply[1:]), strict=True))

    def append(self, job_id: str, claim: str, events: Sequence[Event], *, tokens: int) -> Signal:
        """Write events; without any, only ask whether to go on."""
        packed = [item for event in events for item in event.packed()]
        return cast("Signal", self._call("append", job_id, claim, tokens, *packed)[0])

    def prepared(self, job_id: str, claim: str, *, folder: str, need_tokens: int) -> None:
        self._fenced("prepared", job_id, claim, folder, need_tokens)

    def release(self, job_id: str, claim: str) -> None:
        """Hand a job back, no loss counted."""
        self._fenced("release", job_id, claim)

    def _fenced(self, script: str, *args: str | int) -> None:
        reply = self._call(script, *args)
        if reply[0] != "ok":
            raise ClaimLost

    def events(self, job_id: str, *, after: int = 0) -> list[Event]:
        """A job's events behind ``after``; at most what one context window can hold."""
        with _answers():
            entries = cast(
                "list[tuple[str, dict[str, str]]]", self._redis.xrange(f"stream:{job_id}", min=f"({after}-0")
            )
        return [Event.from_entry(entry_id, fields) for entry_id, fields in entries]

    # ── an end ──

    def seal(self, job_id: str, *, sealer: str, status: JobStatus, error: str, expect: Expect) -> JobStatus | None:
        """Step one of an end.

        Returns:
            None: sealed, go on to the result object. A status: the job has ended already, with that.

        Raises:
            ClaimLost: the job is not the sealer's to end.
        """
        reply = self._call("seal", job_id, sealer, status, error[:64], LEASE_MS, expect)
        if reply[0] == "ok":
            return None
        if reply[0] == "ended":
            return JobStatus(reply[1])
        raise ClaimLost

    def finish(
        self, job_id: str, *, status: JobStatus, error: str, event_data: str, tokens: int, retention_ms: int
    ) -> bool:
        """Step three of an end. False: it had ended already, or its record is gone."""
        reply = self._call("finish", job_id, status, error[:64], event_data, tokens, retention_ms, STREAM_RETENTION_MS)
        return reply[0] == "ok"

    # ── the keeper ──

    def late_leases(self, stage: Stage, *, limit: int = 100) -> list[Job]:
        return self._late(f"leases:{stage}", limit)

    def missed_deadlines(self, *, limit: int = 100) -> list[Job]:
        return self._late("deadlines", limit)

    def _late(self, key: str, limit: int) -> list[Job]:
        jobs = []
        for job_id in self._call("late", key, limit)[1:]:
            if job := self.get(job_id):
                jobs.append(job)
            else:
                with _answers():
                    self._redis.zrem(key, job_id)
        return jobs

    def requeue(self, job: Job) -> Literal["ok", "exhausted", "held"]:
        """Take a job from the late owner that ``job`` shows."""
        reply = self._call("requeue", job.id, job.claim, MAX_LOSSES)
        return cast("Literal['ok', 'exhausted', 'held']", reply[0])

    def wants_bell(self, stage: Stage) -> bool:
        return self._call("bell", stage, LEASE_MS)[0] == "ok"

    def workers(self) -> list[Worker]:
        """Those that beat within a lease."""
        found = []
        with _answers():
            seconds, micros = self._redis.time()
            alive_since = seconds * 1000 + micros // 1000 - LEASE_MS
            for worker in cast("list[str]", self._redis.zrangebyscore("workers", alive_since, "+inf")):
                row = cast("dict[str, str]", self._redis.hgetall(f"worker:{worker}"))
                if row:
                    found.append(Worker(worker, row["stage"], row["state"], int(row["slots"]), int(row["free"])))
        return found

    def forget_workers(self) -> None:
        """Drop workers that have not beaten for four leases; their hashes expire by themselves."""
        with _answers():
            seconds, _ = self._redis.time()
            self._redis.zremrangebyscore("workers", "-inf", seconds * 1000 - WORKER_GONE_MS)

    def take_deliveries(self, *, claim: str, limit: int) -> list[DueDelivery]:
        items = self._call("take_deliveries", claim, limit, DELIVERY_CLAIM_MS)[1:]
        rows = zip(*[iter(items)] * 5, strict=True)
        return [DueDelivery(row[0], row[1], row[2], int(row[3]), int(row[4])) for row in rows]

    def settle_delivery(
        self,
        delivery: str,
        *,
        claim: str,
        state: Literal["delivered", "pending", "abandoned"],
        attempt: str,
        wait_ms: int,
        retention_ms: int,
    ) -> bool:
        """Write down an attempt. False: another keeper has taken the row in the meantime."""
        reply = self._call("settle_delivery", delivery, claim, state, attempt, wait_ms, retention_ms)
        return reply[0] == "ok"
