"""The gpu stage: claims as many jobs as the engine has room for, and takes each to its end."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import structlog

from jobs.bells import ring
from jobs.blobs import Blobs
from jobs.ending import Ending
from jobs.errors import ClaimLost, JobFailed, NotInitialised, Unavailable
from jobs.logs import job_logger
from jobs.record import Job, JobStatus, Stage, new_claim
from jobs.replies import Claimed, Pace
from jobs.result import JobResult
from jobs.settings import Settings
from jobs.store import JobStore
from worker.engine import Engine, EngineLoop
from worker.generation import Drain, Generation, HandedBack, Workshop
from worker.heart import Heart
from worker.meter import generated
from worker.outcome import Outcome
from worker.parting import Parting
from worker.scribe import Scribe

log = structlog.get_logger(__name__)

STUCK_S = 60.0
"""An engine that has not finished a step for so long counts as hung."""
PAUSE_S = 1.0
"""Before the next claim when a server did not answer; doubled each time, so that jobs are not tossed to and fro."""
MAX_PAUSE_S = 15.0


class Inference:
    """A job has a thread while it runs, which mostly waits; the engine steps in a thread of its own."""

    def __init__(self, store: JobStore, blobs: Blobs, settings: Settings, engine: Engine, loop: EngineLoop) -> None:
        self._store = store
        self._engine = engine
        self._parting = Parting(store, Ending(store, blobs, retention_days=settings.retention_days))
        self._scribe = Scribe()
        self._drain = Drain()
        self._workshop = Workshop(
            store,
            blobs,
            engine,
            loop,
            self._scribe,
            Outcome(blobs, settings.family.marks),
            self._drain,
            threading.Semaphore(max(1, (os.cpu_count() or 2) // 2)),
        )
        self._threads = ThreadPoolExecutor(engine.slots, thread_name_prefix="job")
        self._held: dict[str, int] = {}
        """KV tokens that the job of each claim here may come to need."""
        self._lock = threading.Lock()
        self._pause_s = PAUSE_S
        self._paused_until = 0.0
        self.heart = Heart(
            store,
            stage=Stage.GPU,
            slots=engine.slots,
            is_progressing=lambda: time.monotonic() - loop.last_progress < STUCK_S,
            pace=self._pace,
        )

        self._counted = (time.monotonic(), 0)

    def start(self) -> None:
        self._scribe.start()
        self.heart.start()
        self.heart.tell("ready")

    def stop(self) -> None:
        """Leave the list of workers; call it behind ``drain``."""
        self._threads.shutdown(wait=True)
        self._scribe.stop()
        self.heart.stop()

    def drain(self, *, grace_s: float) -> None:
        """Claim no more; what still runs after ``grace_s`` is handed back."""
        self._drain.hand_back_at = min(self._drain.hand_back_at, time.monotonic() + grace_s)
        self.heart.tell("draining")

    def serve(self) -> None:
        """Answer a bell: claim until nothing waits, or nothing more fits.

        Raises:
            Unavailable, NotInitialised
        """
        with self._lock:  # one claim at a time, so that room is counted right
            while not self._drain.is_on and len(self._held) < self._engine.slots:
                if time.monotonic() < self._paused_until:
                    return  # the keeper rings again
                claimed = self._store.claim(
                    Stage.GPU, claim=new_claim(), worker=self.heart.worker.id, room_tokens=self._room()
                )
                if claimed is None:
                    return
                self._held[claimed.job.claim] = claimed.job.need_tokens
                self._threads.submit(self._take, claimed)
        # Another worker may be free for what this one leaves.
        ring(self._store, Stage.GPU)

    def _pace(self) -> Pace:
        """Tokens a second since the last time that it was asked."""
        stats, now = self._engine.stats(), time.monotonic()
        (then, before), self._counted = self._counted, (now, stats.sampled_tokens)
        return Pace(stats.kv_free, (stats.sampled_tokens - before) / max(now - then, 0.1))

    def _room(self) -> int:
        """KV tokens that are nobody's. A job alone may need more than there is: the engine then says what fits."""
        if not self._held:
            return max(self._engine.context_tokens, self._engine.kv_tokens)
        return max(0, self._engine.kv_tokens - sum(self._held.values()))

    def _take(self, claimed: Claimed) -> None:
        """Run one job, then look for the next."""
        try:
            self.run(claimed)
        finally:
            with self._lock:
                self._held.pop(claimed.job.claim, None)
        try:
            self.serve()
        except (Unavailable, NotInitialised) as error:
            log.warning("claim.missed", stage=Stage.GPU, code=error.code)

    def run(self, claimed: Claimed) -> None:
        """Take one claimed job to its end, or back into the line; every error stays inside it."""
        job, job_log = claimed.job, job_logger(claimed.job)
        with self.heart.hold(job) as lease:
            try:
                result = Generation(self._workshop, claimed, lease, job_log).run()
                generated(result)
            except JobFailed as failure:
                result = _failed(job, failure.failure_code, failure.message)
            except ClaimLost:
                job_log.warning("job.claim_lost", stage=Stage.GPU)
                return
            except HandedBack as reason:
                self._parting.hand_back(job, lease.lost, job_log, reason=str(reason), is_loss=reason.is_loss)
                return
            except (Unavailable, NotInitialised) as error:
                self._pause()
                self._parting.hand_back(job, lease.lost, job_log, reason=error.code)
                return
            except Exception as error:  # noqa: BLE001 - one job's crash must not cost the others
                job_log.exception("job.run_crashed")
                result = _failed(job, "internal_error", f"Running the job crashed: {type(error).__name__}.")
            if self._parting.end(result, lease.lost, job_log):
                self._pause_s = PAUSE_S

    def _pause(self) -> None:
        self._paused_until = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)


def _failed(job: Job, code: str, message: str) -> JobResult:
    return JobResult(job.id, JobStatus.FAILED, job.attempt, job.claim, {"code": code, "message": message})
