"""Fetches a job's media into files: uploads from the object store, URLs from their hosts.

URLs are fetched by one event loop for all jobs, apart from decoding: a host that stalls costs a connection, not a
decoder. Connections are shared fairly between tenants, in total and to each host.
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx

from jobs.errors import JobFailed
from jobs.objects.client import ObjectChanged, ObjectNotFound
from jobs.objects.store import ObjectStore
from runtime.settings import Settings
from runtime.tls import client_context
from worker.egress.client import EgressClient
from worker.egress.errors import EgressError
from worker.prepare.deadline import Deadline
from worker.prepare.fair_slots import POLL_S, FairSlots, no_more_than_remain_free
from worker.prepare.preparation import Preparation

MEDIA_NAMES = {"image": "Image", "document": "Document", "video": "Video"}
"""By the type of a message part."""
FETCH_RETRY_DELAYS_S = (0.5, 2.0)
"""Between attempts to fetch a URL after an error that may pass; its host may be restarting."""
COPY_START_S = 30.0
SLOWEST_COPY_BYTES_PER_S = 4 * 2**20
"""Time limit of a copy in the object store. SeaweedFS on two cores copied 60 MiB/s."""
MAX_CONNECTIONS = 128
"""Of all jobs. One tenant has at most half of them."""
MAX_CONNECTIONS_PER_HOST = 32
MAX_CONNECTIONS_PER_JOB = 8
VIDEO_TIMEOUT_FACTOR = 10
"""A video may take this many times as long as other media."""
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class MediaItem:
    """One image, document or video of a job."""

    part: dict[str, Any]
    """The message part of the stored request."""
    name: str
    """The name in error messages, such as ``Image 2``."""
    path: Path
    """Where its file is written."""

    @property
    def kind(self) -> str:
        return str(self.part["type"])


def has_media(messages: Sequence[dict[str, Any]]) -> bool:
    """Return whether a conversation has images, documents or videos."""
    return any(part["type"] in MEDIA_NAMES for message in messages for part in message["content"])


def list_media(messages: Sequence[dict[str, Any]], folder: Path) -> list[MediaItem]:
    """List the media of a conversation in order, with a path in ``folder`` for each. No file is written."""
    media: list[MediaItem] = []
    counts = dict.fromkeys(MEDIA_NAMES, 0)
    for message in messages:
        for part in message["content"]:
            if (kind := part["type"]) in MEDIA_NAMES:
                counts[kind] += 1
                name = f"{MEDIA_NAMES[kind]} {counts[kind]}"
                media.append(MediaItem(part, name, folder / f"{kind}-{counts[kind]}"))
    return media


class ConnectionSlots:
    """Limits connections in total and to each host, shared fairly between tenants. Used by one event loop."""

    def __init__(self) -> None:
        self._all = FairSlots(no_more_than_remain_free(MAX_CONNECTIONS))
        per_host = no_more_than_remain_free(MAX_CONNECTIONS_PER_HOST)
        self._by_host: dict[str, FairSlots] = defaultdict(lambda: FairSlots(per_host))

    @asynccontextmanager
    async def connection(self, tenant: str, url: str) -> AsyncIterator[None]:
        """Wait until the tenant may connect to the URL's host, and hold the connection inside the block."""
        host = _host(url)
        try:
            # First the host's slot: waiting for a busy host must not take a connection from other hosts.
            async with _held(self._by_host[host], tenant), _held(self._all, tenant):
                yield
        finally:
            if self._by_host[host].is_unused:
                del self._by_host[host]


class MediaFetcher:
    """Downloads media from the object store and from URLs. Safe to share between threads after ``start``."""

    def __init__(self, object_store: ObjectStore, settings: Settings) -> None:
        self._object_store = object_store
        self._settings = settings
        self._tls_context = cache(partial(client_context, settings))
        self._max_bytes = {
            "image": settings.max_image_bytes,
            "document": settings.max_document_bytes,
            "video": settings.max_video_bytes,
        }
        self._slots = ConnectionSlots()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fetch", daemon=True)
        self._egress: EgressClient | None = None
        """Of all jobs, so that lookups of host names are shared between tenants."""

    def start(self) -> None:
        """Start the event loop in a thread."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(STOP_TIMEOUT_S)

    def stop(self) -> None:
        """Stop the event loop; call it when no job fetches."""
        if self._egress:
            asyncio.run_coroutine_threadsafe(self._egress.__aexit__(None, None, None), self._loop).result(
                STOP_TIMEOUT_S
            )
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_TIMEOUT_S)
        self._loop.close()

    async def _open(self) -> None:
        self._egress = EgressClient(self._settings.egress_networks, tls_context=self._tls_context)

    def max_bytes(self, media: Sequence[MediaItem]) -> int:
        """Return how much the files of the items may have together: their sizes, or their limits for those by URL."""
        return sum(item.part.get("bytes") or self._max_bytes[item.kind] for item in media)

    def fetch(self, media: Sequence[MediaItem], preparation: Preparation) -> None:
        """Write the file of each item; blocks until all are written.

        Raises:
            JobFailed, ObjectStoreUnavailable; also what ``preparation.check`` raises.
        """
        for item in media:
            if "key" in item.part:
                preparation.check()
                self._load_object(item, preparation.deadline)
        if remote := [item for item in media if "url" in item.part]:
            fetching = asyncio.run_coroutine_threadsafe(self._fetch_urls(remote, preparation), self._loop)
            _wait_for(fetching, preparation.check)

    def _load_object(self, item: MediaItem, deadline: Deadline) -> None:
        """Write the file of an item that is in the object store; make the job's copy first, unless it exists."""
        part, limit = item.part, self._max_bytes[item.kind]
        try:
            if "source" in part and not self._object_store.exists(part["key"]):
                timeout_s = deadline.left(COPY_START_S + part["bytes"] / SLOWEST_COPY_BYTES_PER_S)
                source = part["source"]
                self._object_store.copy(source["key"], part["key"], etag=source.get("etag"), timeout_s=timeout_s)
            self._object_store.download(part["key"], item.path, max_bytes=limit, exact_bytes=part.get("bytes"))
        except ObjectChanged:
            message = f"{item.name} was changed after the job was submitted; upload it again and submit a new job."
            raise JobFailed("media_changed", message) from None
        except ObjectNotFound:
            message = f"{item.name} no longer exists in the object store; submit the job again with the file."
            raise JobFailed("media_missing", message) from None

    async def _fetch_urls(self, media: Sequence[MediaItem], preparation: Preparation) -> None:
        own_slots = asyncio.Semaphore(MAX_CONNECTIONS_PER_JOB)
        async with asyncio.TaskGroup() as tasks:
            for item in media:
                tasks.create_task(self._fetch_url(own_slots, item, preparation))

    async def _fetch_url(self, own_slots: asyncio.Semaphore, item: MediaItem, preparation: Preparation) -> None:
        assert self._egress is not None
        timeout_s = self._settings.fetch_timeout_s * (VIDEO_TIMEOUT_FACTOR if item.kind == "video" else 1)
        for delay_s in (*FETCH_RETRY_DELAYS_S, None):
            async with AsyncExitStack() as slots:
                await slots.enter_async_context(own_slots)
                await slots.enter_async_context(self._slots.connection(preparation.tenant, item.part["url"]))
                try:
                    with item.path.open("wb") as file:
                        await self._egress.download(
                            item.part["url"],
                            file,
                            max_bytes=self._max_bytes[item.kind],
                            timeout_s=preparation.deadline.left(timeout_s),
                            owner=preparation.tenant,
                        )
                except EgressError as error:
                    if delay_s is None or not error.retryable:
                        raise JobFailed(error.code, f"{item.name}: {error.message}") from error
                else:
                    return
            await asyncio.sleep(delay_s)


@asynccontextmanager
async def _held(slots: FairSlots, tenant: str) -> AsyncIterator[None]:
    ticket = slots.request(tenant)
    try:
        # Shielded: a cancelled wait must not cancel the future, which the slots complete.
        await asyncio.shield(asyncio.wrap_future(ticket.granted))
        yield
    finally:
        slots.release(ticket)


def _host(url: str) -> str:
    try:
        return httpx.URL(url).host
    except httpx.InvalidURL:
        return ""


def _wait_for(fetching: "Future[None]", check: Callable[[], None]) -> None:
    """Wait for the end of a task of the event loop; its first error is raised."""
    try:
        while not fetching.done():
            check()
            wait([fetching], POLL_S)
    except BaseException:
        fetching.cancel()
        raise
    try:
        fetching.result()
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
