"""Claims as many jobs of the generate stage as the engine has room for, and runs them at once."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import structlog

from engine import Engine, EngineLoop
from jobs.errors import NotInitialized, Unavailable
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.model.documents.result import JobResult
from jobs.model.job import Stage
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore
from jobs.table.types import ClaimedJob, EngineLoad
from jobs.wakeup.notify import notify
from runtime.process.cgroup import available_cpus
from runtime.settings import Settings
from worker.generate.engine_metrics import observe_generation
from worker.generate.generation import Generation, GenerationContext
from worker.generate.journal_flusher import JournalFlusher
from worker.generate.result_builder import ResultBuilder
from worker.heartbeat import Heartbeat, Lease
from worker.stage_runner import StageRunner

log = structlog.get_logger(__name__)

OVERCOMMIT = 2
"""Claimed jobs per slot at most. Those beyond the slots belong to tenants that hold fewer slots than others."""


@dataclass(frozen=True, slots=True)
class _HeldJob:
    """What a claimed job occupies."""

    tenant: str
    required_tokens: int
    """Tokens of KV cache that it may need."""


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
            input_slots=threading.Semaphore(max(1, available_cpus() // 2)),
        )
        self._threads = ThreadPoolExecutor(OVERCOMMIT * engine.slots, thread_name_prefix="job")
        self._jobs: dict[str, _HeldJob] = {}
        """The claimed jobs, by claim."""
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

        When all slots are taken, jobs of tenants that hold fewer slots than others are still claimed: the engine
        preempts a sequence of the tenant that holds the most.

        Raises:
            Unavailable, NotInitialized
        """
        with self._claiming:  # one claim at a time, so that free tokens are counted correctly
            while not self._runner.drain.has_begun:
                if self._runner.backoff.remaining_s:
                    return  # the keeper sends another wake-up
                served = self._served_tenants()
                if served is None:
                    break
                claimed = self._runner.claim(free_tokens=self._free_tokens(), served_tenants=served)
                if claimed is None:
                    if served:
                        break
                    return
                self._jobs[claimed.job.claim] = _HeldJob(claimed.job.tenant, claimed.job.required_tokens)
                self._threads.submit(self._run_then_claim, claimed)
        # Another worker may have room for the jobs that this one leaves.
        notify(self._store, Stage.GENERATE, full_worker=self._heartbeat.worker.id)

    def engine_load(self) -> EngineLoad:
        """Return the free KV cache and the tokens per second since the last call."""
        stats, now = self._engine.stats(), time.monotonic()
        (then, before), self._sampled = self._sampled, (now, stats.sampled_tokens)
        return EngineLoad(stats.kv_free_tokens, (stats.sampled_tokens - before) / max(now - then, 0.1))

    def _served_tenants(self) -> frozenset[str] | None:
        """Return the tenants whose jobs cannot be claimed now; None if no job can be.

        Empty while a slot is free. Then the tenants that would hold as many slots as any other tenant.
        """
        if len(self._jobs) < self._engine.slots:
            return frozenset()
        counts = Counter(job.tenant for job in self._jobs.values())
        largest = max(counts.values())
        if len(self._jobs) >= OVERCOMMIT * self._engine.slots or largest < 2:
            return None
        return frozenset(tenant for tenant, count in counts.items() if count + 1 >= largest)

    def _free_tokens(self) -> int:
        """Return the KV cache tokens that no job may need.

        A job that runs alone may need more than the cache has: the engine then says what fits. Beyond the slots, the
        engine preempts other jobs for the tokens, too.
        """
        if not 0 < len(self._jobs) < self._engine.slots:
            return max(self._engine.context_tokens, self._engine.kv_tokens)
        return max(0, self._engine.kv_tokens - sum(job.required_tokens for job in self._jobs.values()))

    def _run_then_claim(self, claimed: ClaimedJob) -> None:
        try:
            self._runner.run(claimed)
        finally:
            with self._claiming:
                self._jobs.pop(claimed.job.claim, None)
        try:
            self.claim_available()
        except (Unavailable, NotInitialized) as error:
            log.warning("claim.failed", stage=Stage.GENERATE, code=error.code)

    def _generate(self, claimed: ClaimedJob, lease: Lease, job_log: Any) -> JobResult:
        result = Generation(self._context, claimed, lease, job_log).run()
        observe_generation(result)
        return result
