"""A job table on the test servers, and shortcuts to a job in each state."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from minio import Minio

from jobs.lifecycle.bootstrap import initialize
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.model.documents.result import JobResult
from jobs.model.job import Job, JobStatus, Stage, new_claim
from jobs.objects.store import ObjectStore
from jobs.table import keys
from jobs.table.deliveries import DeliveryStore
from jobs.table.maintenance import MaintenanceStore
from jobs.table.reports.listing import JobIndex
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from jobs.table.types import ClaimedJob
from jobs.wakeup.app import configure_app
from runtime.settings import Settings


@dataclass
class Table:
    settings: Settings
    store: JobStore
    maintenance: MaintenanceStore
    object_store: ObjectStore
    finalizer: JobFinalizer
    deliveries: DeliveryStore
    index: JobIndex

    def accept(
        self, job_id: str, *, tenant: str = "default", priority: str = "default", events: tuple[str, ...] = ()
    ) -> str:
        self.store.accept(job_id, tenant=tenant, priority=priority, expires_ms=3_600_000, events=events)
        return job_id

    def claim(
        self, stage: Stage, claim: str | None = None, *, free_tokens: int = 10**6, worker: str = "test"
    ) -> ClaimedJob | None:
        claimed = self.store.claim(stage, claim=claim or new_claim(), worker=worker, free_tokens=free_tokens)
        if claimed:
            self.store.confirm_claim(claimed.job.id, claimed.job.claim)
        return claimed

    def queued(self, job_id: str, *, required_tokens: int = 100, **accept: Any) -> str:
        """Return a job that waits for a generate worker."""
        self.accept(job_id, **accept)
        claimed = self.claim(Stage.PREPARE)
        assert claimed is not None
        self.store.mark_prepared(
            job_id, claimed.job.claim, folder=f"a1-{claimed.job.claim}", required_tokens=required_tokens
        )
        return job_id

    def running(self, job_id: str, **accept: Any) -> Job:
        """Return a job that a generate worker runs."""
        self.queued(job_id, **accept)
        claimed = self.claim(Stage.GENERATE)
        assert claimed is not None
        assert claimed.job.id == job_id
        return claimed.job

    def status(self, job_id: str) -> JobStatus:
        job = self.store.get(job_id)
        assert job is not None
        return job.status

    def expire_lease(self, job_id: str) -> None:
        """Make a lease expire: its time in Redis moves back, no clock moves."""
        client = connect(self.settings)
        for stage in Stage:
            if client.zscore(keys.leases(stage), job_id) is not None:
                client.zincrby(keys.leases(stage), -2000 * self.settings.lease_s, job_id)


def completed(job: Job, answer: str = "four") -> JobResult:
    output = {"thinking": "", "answer": answer, "boxes": [], "raw": f"<think></think>\n<answer>{answer}</answer>"}
    return JobResult(job.id, JobStatus.COMPLETED, job.attempt, job.claim, output=output)


def empty_bucket(settings: Settings) -> None:
    client = Minio(
        urlsplit(settings.s3_endpoint).netloc,
        settings.s3_access_key.get_secret_value(),
        settings.s3_secret_key.get_secret_value(),
        secure=False,
    )
    if client.bucket_exists(settings.s3_bucket):
        for item in list(client.list_objects(settings.s3_bucket, recursive=True)):
            client.remove_object(settings.s3_bucket, item.object_name)


@pytest.fixture
def table(settings: Settings) -> Table:
    """An empty job table: ``settings`` empties Redis, and this fixture the bucket."""
    empty_bucket(settings)
    return new_table(settings)


def new_table(settings: Settings) -> Table:
    initialize(settings)
    configure_app(settings)
    redis = connect(settings)
    store, object_store = JobStore(redis, lease_s=settings.lease_s), ObjectStore(settings)
    finalizer = JobFinalizer(store, object_store, retention_days=settings.retention_days)
    return Table(
        settings,
        store,
        MaintenanceStore(redis, lease_s=settings.lease_s),
        object_store,
        finalizer,
        DeliveryStore(redis),
        JobIndex(redis),
    )
