"""Builds the runner of batches from the clients of an api process."""

from concurrent.futures import ThreadPoolExecutor

from api.dependencies import FILE_TIMEOUT_S, Services
from api.openai.batches.requests import ApiRequests
from jobs.batches.runner import BatchRunner
from jobs.batches.store import BatchStore
from jobs.batches.window import Parts
from jobs.objects.store import ObjectStore
from jobs.table.batches import BatchLedger
from jobs.table.scripts import connect
from runtime.settings import Settings

THREADS = 8
"""Lines that are submitted or read at the same time."""


def create_runner(settings: Settings) -> BatchRunner:
    """Return a runner with clients of its own, which connect when they are first used."""
    services = Services.from_settings(settings)
    parts = Parts(
        store=BatchStore(ObjectStore(settings, timeout_s=FILE_TIMEOUT_S, is_shared=True)),
        files=services.files,
        jobs=services.store,
        object_store=services.object_store,
        finalizer=services.finalizer,
        ended_jobs=services.ended_jobs,
        requests=ApiRequests(services),
        pool=ThreadPoolExecutor(THREADS, "batch"),
        window=settings.batch_window,
        max_line_bytes=settings.max_body_bytes,
    )
    return BatchRunner(parts, BatchLedger(connect(settings)), lease_s=settings.batch_lease_s)
