"""The generate stage: claims as many jobs as the engine has room for, and takes each to its end."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import structlog

from engine import Engine, EngineLoop
from jobs.errors import ClaimLost, JobFailed, NotInitialized, Unavailable
from jobs.lifecycle.finalize import JobFinalizer
from jobs.model.job import Job, JobStatus, Stage, new_claim
from jobs.model.result import JobResult
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore
from jobs.table.types import ClaimedJob, EngineLoad
from jobs.wakeup.notify import notify
from runtime.logs import job_logger
from runtime.settings import Settings
from worker.generate.engine_metrics import generated
from worker.generate.generation import Drain, Generation, GenerationContext, JobReleased
from worker.generate.journal_flusher import JournalFlusher
from worker.generate.result_builder import ResultBuilder
from worker.heartbeat import Heartbeat
from worker.settlement import JobSettler

log = structlog.get_logger(__name__)

STUCK_S = 60.0
"""An engine that has not finished a step for so long counts as hung."""
PAUSE_S = 1.0
"""Before the next claim when a server did not answer; doubled each time, so that jobs are not tossed to and fro."""
MAX_PAUSE_S = 15.0


class GenerateWorker:
    """A job has a thread while it runs, which mostly waits; the engine steps in a thread of its own."""

    def __init__(
        self, store: JobStore, object_store: ObjectStore, settings: Settings, engine: Engine, loop: EngineLoop
    ) -> None:
        self._store = store
        self._engine = engine
        self._settler = JobSettler(store, JobFinalizer(store, object_store, retention_days=settings.retention_days))
        self._flusher = JournalFlusher()
        self._drain = Drain()
        self._context = GenerationContext(
            store,
            object_store,
            engine,
            loop,
            self._flusher,
            ResultBuilder(object_store, settings.family.special_tokens),
            self._drain,
            threading.Semaphore(max(1, (os.cpu_count() or 2) // 2)),
        )
        self._threads = ThreadPoolExecutor(engine.slots, thread_name_prefix="job")
        self._held: dict[str, int] = {}
        """KV tokens that the job of each claim here may come to need."""
        self._lock = threading.Lock()
        self._pause_s = PAUSE_S
        self._paused_until = 0.0
        self.heartbeat = Heartbeat(
            store,
            stage=Stage.GENERATE,
            slots=engine.slots,
            interval_s=settings.heartbeat_s,
            is_progressing=lambda: time.monotonic() - loop.last_progress < STUCK_S,
            engine_load=self._engine_load,
        )

        self._counted = (time.monotonic(), 0)

    def start(self) -> None:
        self._flusher.start()
        self.heartbeat.start()
        self.heartbeat.set_state("ready")

    def stop(self) -> None:
        """Leave the list of workers; call it behind ``drain``."""
        self._threads.shutdown(wait=True)
        self._flusher.stop()
        self.heartbeat.stop()

    def drain(self, *, grace_s: float) -> None:
        """Claim no more; what still runs after ``grace_s`` is handed back."""
        self._drain.hand_back_at = min(self._drain.hand_back_at, time.monotonic() + grace_s)
        self.heartbeat.set_state("draining")

    def claim_available(self) -> None:
        """Answer a bell: claim until nothing waits, or nothing more fits.

        Raises:
            Unavailable, NotInitialized
        """
        with self._lock:  # one claim at a time, so that room is counted right
            while not self._drain.is_on and len(self._held) < self._engine.slots:
                if time.monotonic() < self._paused_until:
                    return  # the keeper rings again
                claimed = self._store.claim(
                    Stage.GENERATE, claim=new_claim(), worker=self.heartbeat.worker.id, free_tokens=self._room()
                )
                if claimed is None:
                    return
                self._held[claimed.job.claim] = claimed.job.required_tokens
                self._threads.submit(self._run_then_claim, claimed)
        # Another worker may be free for what this one leaves.
        notify(self._store, Stage.GENERATE)

    def _engine_load(self) -> EngineLoad:
        """Tokens a second since the last time that it was asked."""
        stats, now = self._engine.stats(), time.monotonic()
        (then, before), self._counted = self._counted, (now, stats.sampled_tokens)
        return EngineLoad(stats.kv_free_tokens, (stats.sampled_tokens - before) / max(now - then, 0.1))

    def _room(self) -> int:
        """KV tokens that are nobody's. A job alone may need more than there is: the engine then says what fits."""
        if not self._held:
            return max(self._engine.context_tokens, self._engine.kv_tokens)
        return max(0, self._engine.kv_tokens - sum(self._held.values()))

    def _run_then_claim(self, claimed: ClaimedJob) -> None:
        """Run one job, then look for the next."""
        try:
            self.run(claimed)
        finally:
            with self._lock:
                self._held.pop(claimed.job.claim, None)
        try:
            self.claim_available()
        except (Unavailable, NotInitialized) as error:
            log.warning("claim.failed", stage=Stage.GENERATE, code=error.code)

    def run(self, claimed: ClaimedJob) -> None:
        """Take one claimed job to its end, or back into the line; every error stays inside it."""
        job, job_log = claimed.job, job_logger(claimed.job)
        with self.heartbeat.lease(job) as lease:
            try:
                result = Generation(self._context, claimed, lease, job_log).run()
                generated(result)
            except JobFailed as failure:
                result = _failed(job, failure.failure_code, failure.message)
            except ClaimLost:
                job_log.warning("job.claim_lost", stage=Stage.GENERATE)
                return
            except JobReleased as reason:
                self._settler.release(job, lease.lost, job_log, reason=str(reason), is_loss=reason.is_loss)
                return
            except (Unavailable, NotInitialized) as error:
                self._pause()
                self._settler.release(job, lease.lost, job_log, reason=error.code)
                return
            except Exception as error:  # noqa: BLE001 - one job's crash must not cost the others
                job_log.exception("job.crashed")
                result = _failed(job, "internal_error", f"Running the job crashed: {type(error).__name__}.")
            if self._settler.settle(result, lease.lost, job_log):
                self._pause_s = PAUSE_S

    def _pause(self) -> None:
        self._paused_until = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)


def _failed(job: Job, code: str, message: str) -> JobResult:
    return JobResult(job.id, JobStatus.FAILED, job.attempt, job.claim, {"code": code, "message": message})
