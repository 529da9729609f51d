"""Claims jobs of the prepare stage and prepares many at once, each in a thread that mostly waits."""

import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from jobs.errors import Cancelled, ClaimLost, NotInitialized, Unavailable
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.model.job import Stage
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore
from jobs.table.types import ClaimedJob
from jobs.wakeup.notify import notify
from runtime.settings import Settings
from worker.heartbeat import Heartbeat, Lease
from worker.prepare.decoding.decoder_pool import DecoderPool
from worker.prepare.fair_slots import no_more_than_remain_free
from worker.prepare.fetch import MediaFetcher
from worker.prepare.preparer import Preparer
from worker.prepare.sandbox.client import Sandbox, SandboxFailed
from worker.stage_runner import JobReleased, StageRunner

log = structlog.get_logger(__name__)

SETTLE_TIMEOUT_S = 300.0
"""How long to retry the end of a job while the object store is away."""
OVERDUE_LIMIT_S = 60.0
"""A job that is past its time limit for this long hangs: every wait has a limit of its own, which applies before."""
OVERDUE_CHECK_S = 5.0
EXIT_TIMEOUT_S = 60.0
FULL_PAUSE_S = 0.5


class PrepareWorker:
    """The prepare worker of this process.

    A job costs little while its media are fetched, so the worker has many more jobs than decoders. A tenant has at most
    as many jobs here as there are free slots: while one tenant's jobs wait for slow hosts or decoders, there is a slot
    for the next tenant.
    """

    def __init__(self, store: JobStore, object_store: ObjectStore, settings: Settings, sandbox: Sandbox) -> None:
        self._store = store
        self._slots = settings.prepare_slots
        self._may_claim = no_more_than_remain_free(settings.prepare_slots)
        self._drain_grace_s = settings.prepare_drain_grace_s
        self._fetcher = MediaFetcher(object_store, settings)
        pool = DecoderPool(settings, sandbox)
        self._preparer = Preparer(store, object_store, settings, fetcher=self._fetcher, pool=pool)
        self._heartbeat = Heartbeat(store, stage=Stage.PREPARE, slots=self._slots, interval_s=settings.heartbeat_s)
        finalizer = JobFinalizer(store, object_store, retention_days=settings.retention_days)
        self._runner = StageRunner(
            store, finalizer, self._heartbeat, self._prepare, stage=Stage.PREPARE, settle_timeout_s=SETTLE_TIMEOUT_S
        )
        self._threads = ThreadPoolExecutor(self._slots, thread_name_prefix="job")
        self._claiming = threading.Lock()
        self._held: Counter[str] = Counter()
        """Jobs that are being prepared, by tenant."""
        self._stopped = threading.Event()
        self._is_started = False

    @property
    def is_ready(self) -> bool:
        return self._heartbeat.worker.state == "ready"

    def start(self) -> None:
        """Register the worker."""
        self._is_started = True
        self._fetcher.start()
        self._heartbeat.start()
        self._heartbeat.set_state("ready")
        threading.Thread(target=self._watch, name="overdue", daemon=True).start()

    def drain(self) -> None:
        """Claim no more jobs; release those that are not prepared ``PREPARE_DRAIN_GRACE_S`` seconds later."""
        if not self._is_started:
            return
        self._runner.drain.begin(grace_s=self._drain_grace_s)
        self._heartbeat.set_state("draining")

    def stop(self) -> None:
        """Wait for the jobs and remove the worker from the list of workers; call it after ``drain``."""
        if not self._is_started:
            return
        self._threads.shutdown(wait=True)
        self._stopped.set()
        self._fetcher.stop()
        self._heartbeat.stop()

    def claim_available(self) -> None:
        """Handle a wake-up: claim jobs until none waits or all slots are taken.

        Raises:
            Unavailable, NotInitialized
        """
        with self._claiming:
            while self._held.total() < self._slots:
                if self._runner.drain.has_begun:
                    break
                if self._runner.backoff.remaining_s:
                    return  # the keeper sends another wake-up
                claimed = self._runner.claim(served_tenants=self._tenants_at_limit(), has_free_slot=True)
                if claimed is None:
                    return
                self._held[claimed.job.tenant] += 1
                self._threads.submit(self._run_then_claim, claimed)
        if not self._runner.drain.has_begun:
            # All slots are taken. A wake-up that is sent at once would come back to this worker at once.
            self._runner.drain.wait(FULL_PAUSE_S)
        # Another worker may have room for the jobs that this one leaves.
        notify(self._store, Stage.PREPARE)

    def _tenants_at_limit(self) -> list[str]:
        total = self._held.total()
        return [tenant for tenant, held in self._held.items() if not self._may_claim(held, total)]

    def _run_then_claim(self, claimed: ClaimedJob) -> None:
        try:
            self._runner.run(claimed)
        finally:
            with self._claiming:
                self._held[claimed.job.tenant] -= 1
                self._held += Counter()  # drops tenants without jobs
        try:
            self.claim_available()
        except (Unavailable, NotInitialized) as error:
            log.warning("claim.failed", stage=Stage.PREPARE, code=error.code)

    def _prepare(self, claimed: ClaimedJob, lease: Lease, job_log: Any) -> None:
        def check() -> None:
            if self._runner.drain.is_over:
                raise JobReleased("drain")
            if lease.lost.is_set():
                raise ClaimLost
            if lease.cancelled.is_set():
                raise Cancelled

        check()
        try:
            required_tokens = self._preparer.prepare(claimed.job, check)
        except SandboxFailed as error:
            job_log.error("sandbox.failed", reason=str(error))
            # Counts as a loss, so that a job which causes it does not run forever.
            raise JobReleased("sandbox_failed", is_loss=True) from error
        job_log.info("job.prepared", required_tokens=required_tokens)
        notify(self._store, Stage.GENERATE, tenant=claimed.job.tenant)

    def _watch(self) -> None:
        """End the process when a job hangs: its supervisor starts another one, and the leases expire."""
        while not self._stopped.wait(OVERDUE_CHECK_S):
            if self._preparer.overdue_s > OVERDUE_LIMIT_S:
                log.error("worker.stalled", worker=self._heartbeat.worker.id, jobs=self._held.total())
                os.kill(os.getpid(), signal.SIGTERM)
                self._stopped.wait(EXIT_TIMEOUT_S)
                os._exit(1)
