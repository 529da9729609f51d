"""Reads the requests and results of jobs through a bounded cache, several at a time."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from jobs.errors import NewerDocument, NotFound
from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.model.job import Job
from jobs.objects.documents import CorruptDocument, load_job_object, parse
from jobs.objects.keys import request_key, result_key
from jobs.objects.store import ObjectStore

log = structlog.get_logger(__name__)

CACHE_BYTES = 32 * 2**20
CACHE_ENTRIES = 4_096
MAX_ENTRY_SHARE = 8
"""An object larger than this fraction of the cache is not cached: it would displace many others."""
PARALLEL_READS = 8
"""Of one list. A longer list reads in rounds, so that concurrent lists share the threads."""
READ_THREADS = 16
"""Of all lists together."""

CacheKey = tuple[str, int]
T = TypeVar("T")


class DocumentCache:
    """The least recently used objects, bounded by count and bytes. Safe to share between threads."""

    def __init__(self, *, max_bytes: int = CACHE_BYTES, max_entries: int = CACHE_ENTRIES) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._entries: OrderedDict[CacheKey, bytes] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> tuple[int, int]:
        """The number of entries and of bytes."""
        with self._lock:
            return len(self._entries), self._bytes

    def get(self, key: CacheKey) -> bytes | None:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: CacheKey, data: bytes) -> None:
        """Add an object and remove the least recently used ones that no longer fit."""
        if len(data) > self._max_bytes // MAX_ENTRY_SHARE:
            return
        with self._lock:
            self._bytes += len(data) - len(self._entries.pop(key, b""))
            self._entries[key] = data
            while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
                _, removed = self._entries.popitem(last=False)
                self._bytes -= len(removed)

    def discard(self, key: CacheKey) -> None:
        with self._lock:
            self._bytes -= len(self._entries.pop(key, b""))


class DocumentReader:
    """Safe to share between threads; every method raises ObjectStoreUnavailable.

    Requests and results are written once, so a cached one is never stale. Every method takes the job's record: a
    deleted job has none, so it is never served from the cache.
    """

    def __init__(self, object_store: ObjectStore, cache: DocumentCache | None = None) -> None:
        self._object_store = object_store
        self._cache = cache or DocumentCache()
        self._pool = ThreadPoolExecutor(READ_THREADS, "documents")

    def request(self, job: Job) -> JobRequest:
        """Return a job's request. Raises NotFound: the object has expired."""
        return self._read(request_key(job.id), job, JobRequest.from_json)

    def result(self, job: Job) -> JobResult | None:
        """Return a job's result; None: it has not ended. Raises NotFound: the object has expired."""
        if not job.status.is_terminal:
            return None
        return self._read(result_key(job.id), job, JobResult.from_json)

    def requests(self, jobs: Sequence[Job]) -> list[JobRequest | None]:
        """Return the requests of several jobs, read in parallel.

        None: it has expired, is damaged, or a newer version wrote it.
        """
        found: list[JobRequest | None] = []
        for batch in _batches(jobs):
            found += self._pool.map(self._find_request, batch)
        return found

    def forget(self, job: Job) -> None:
        """Remove a deleted job's documents from the cache."""
        for key in (request_key(job.id), result_key(job.id)):
            self._cache.discard((key, job.created_ms))

    def close(self) -> None:
        """Stop the threads; ``requests`` cannot be called afterwards."""
        self._pool.shutdown()

    def _find_request(self, job: Job) -> JobRequest | None:
        try:
            return self.request(job)
        except (NotFound, NewerDocument):
            return None
        except CorruptDocument as error:
            log.error("document.corrupt", job_id=job.id, detail=str(error))
            return None

    def _read(self, key: str, job: Job, from_json: Callable[[bytes], T]) -> T:
        # Bytes are cached, not parsed documents: their size is known, and no caller can change them.
        cached = self._cache.get((key, job.created_ms))
        data = load_job_object(self._object_store, key) if cached is None else cached
        document = parse(key, data, from_json)
        if cached is None:
            self._cache.put((key, job.created_ms), data)
        return document


def _batches(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    for start in range(0, len(jobs), PARALLEL_READS):
        yield jobs[start : start + PARALLEL_READS]
