"""What a worker does with a job: claim it, keep its lease, write its events, pass it on or return it."""

from collections.abc import Collection, Sequence
from typing import cast

from jobs.errors import Cancelled, ClaimLost, JournalGap, ThinkqueueError
from jobs.model.events import Event
from jobs.model.job import RECORD_VERSION, Job, Stage
from jobs.table.store.appends import Append, append_many
from jobs.table.store.client import TableClient
from jobs.table.types import ClaimedJob, LeaseSignal, Release, ReleaseCause, WorkerStatus

MAX_ERROR_RELEASES = 6
"""Releases after an error, while other jobs pass the stage; then the job fails. With the delays below, after 46 s."""
ERROR_DELAYS_MS = (1_000, 15_000)
"""Shortest and longest time until a job can be claimed again; it doubles with each counted error."""


class JobExecution(TableClient):
    """The steps of a claimed job. All but ``claim`` and ``heartbeat`` carry the fence of its claim."""

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


def _raise_refusal(word: str) -> None:
    """Raise the error that a script's first word stands for, unless it is ``ok``."""
    if word == "cancel":
        raise Cancelled
    if word != "ok":
        raise ClaimLost
