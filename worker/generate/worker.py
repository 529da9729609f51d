"""Claims as many jobs of the generate stage as the engine has room for, and runs them at once."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from engine import Engine, EngineLoop
from jobs.errors import NotInitialized, Unavailable
from jobs.lifecycle.finalize import JobFinalizer
from jobs.model.job import Stage
from jobs.model.result import JobResult
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore
from jobs.table.types import ClaimedJob, EngineLoad
from jobs.wakeup.notify import notify
from runtime.settings import Settings
from worker.generate.engine_metrics import observe_generation
from worker.generate.generation import Generation, GenerationContext
from worker.generate.journal_flusher import JournalFlusher
from worker.generate.result_builder import ResultBuilder
from worker.heartbeat import Heartbeat, Lease
from worker.stage_runner import StageRunner

log = structlog.get_logger(__name__)


class GenerateWorker:
    """Claims and runs jobs, each in a thread that mostly waits; the engine steps in a thread of its own."""

    def __init__(
        self,
        store: JobStore,
        object_store: ObjectStore,
        settings: Settings,
        engine: Engine,
        loop: EngineLoop,
        heartbeat: Heartbeat,
    ) -> None:
        self._store = store
        self._engine = engine
        self._heartbeat = heartbeat
        finalizer = JobFinalizer(store, object_store, retention_days=settings.retention_days)
        self._runner = StageRunner(store, finalizer, heartbeat, self._generate, stage=Stage.GENERATE)
        self._flusher = JournalFlusher()
        self._context = GenerationContext(
            store=store,
            object_store=object_store,
            engine=engine,
            loop=loop,
            flusher=self._flusher,
            result_builder=ResultBuilder(object_store, settings.family.special_tokens),
            drain=self._runner.drain,
            input_slots=threading.Semaphore(max(1, (os.cpu_count() or 2) // 2)),
        )
        self._threads = ThreadPoolExecutor(engine.slots, thread_name_prefix="job")
        self._required_tokens: dict[str, int] = {}
        """Tokens of KV cache that each running job may need, by claim."""
        self._claiming = threading.Lock()
        self._sampled = (time.monotonic(), 0)
        """When ``engine_load`` was last called, and the tokens sampled until then."""

    def start(self) -> None:
        self._flusher.start()
        self._heartbeat.set_state("ready", slots=self._engine.slots)

    def stop(self) -> None:
        """Wait for the running jobs and remove the worker from the list of workers; call it after ``drain``."""
        self._threads.shutdown(wait=True)
        self._flusher.stop()
        self._heartbeat.stop()

    def drain(self, *, grace_s: float) -> None:
        """Claim no more jobs; release those that still run after ``grace_s`` seconds."""
        self._runner.drain.begin(grace_s=grace_s)
        self._heartbeat.set_state("draining")

    def claim_available(self) -> None:
        """Handle a wake-up: claim jobs until none waits or none fits.

        Raises:
            Unavailable, NotInitialized
        """
        with self._claiming:  # one claim at a time, so that free tokens are counted correctly
            while not self._runner.drain.has_begun and len(self._required_tokens) < self._engine.slots:
                if self._runner.backoff.remaining_s:
                    return  # the keeper sends another wake-up
                claimed = self._runner.claim(free_tokens=self._free_tokens())
                if claimed is None:
                    return
                self._required_tokens[claimed.job.claim] = claimed.job.required_tokens
                self._threads.submit(self._run_then_claim, claimed)
        # Another worker may have room for the jobs that this one leaves.
        notify(self._store, Stage.GENERATE)

    def engine_load(self) -> EngineLoad:
        """Return the free KV cache and the tokens per second since the last call."""
        stats, now = self._engine.stats(), time.monotonic()
        (then, before), self._sampled = self._sampled, (now, stats.sampled_tokens)
        return EngineLoad(stats.kv_free_tokens, (stats.sampled_tokens - before) / max(now - then, 0.1))

    def _free_tokens(self) -> int:
        """Return the KV cache tokens that no job may need.

        A job that runs alone may need more than the cache has: the engine then says what fits.
        """
        if not self._required_tokens:
            return max(self._engine.context_tokens, self._engine.kv_tokens)
        return max(0, self._engine.kv_tokens - sum(self._required_tokens.values()))

    def _run_then_claim(self, claimed: ClaimedJob) -> None:
        try:
            self._runner.run(claimed)
        finally:
            with self._claiming:
                self._required_tokens.pop(claimed.job.claim, None)
        try:
            self.claim_available()
        except (Unavailable, NotInitialized) as error:
            log.warning("claim.failed", stage=Stage.GENERATE, code=error.code)

    def _generate(self, claimed: ClaimedJob, lease: Lease, job_log: Any) -> JobResult:
        result = Generation(self._context, claimed, lease, job_log).run()
        observe_generation(result)
        return result
