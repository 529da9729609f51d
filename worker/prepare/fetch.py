"""Fetches a job's media into files: uploads from the object store, URLs from their hosts."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from jobs.errors import JobFailed
from jobs.objects.client import ObjectChanged, ObjectNotFound
from jobs.objects.store import ObjectStore
from runtime.settings import Settings
from runtime.tls import client_context
from worker.egress.client import EgressClient
from worker.egress.errors import EgressError
from worker.prepare.deadline import Deadline

MEDIA_NAMES = {"image": "Image", "document": "Document", "video": "Video"}
"""By the type of a message part."""
FETCH_RETRY_DELAYS_S = (0.5, 2.0)
"""Between attempts to fetch a URL after an error that may pass; its host may be restarting."""
MAX_CONCURRENT_FETCHES = 8
"""URLs of one job that are fetched at the same time."""
COPY_START_S = 30.0
SLOWEST_COPY_BYTES_PER_S = 4 * 2**20
"""Time limit of a copy in the object store. SeaweedFS on two cores copied 60 MiB/s."""
VIDEO_TIMEOUT_FACTOR = 10
"""A video may take this many times as long as other media."""


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


class MediaFetcher:
    """Downloads media from the object store and from URLs."""

    def __init__(self, object_store: ObjectStore, settings: Settings) -> None:
        self._object_store = object_store
        self._settings = settings
        self._tls_context = cache(partial(client_context, settings))
        self._max_bytes = {
            "image": settings.max_image_bytes,
            "document": settings.max_document_bytes,
            "video": settings.max_video_bytes,
        }

    def fetch(self, media: Sequence[MediaItem], deadline: Deadline) -> None:
        """Write the file of each item; blocks until all are written.

        Raises:
            JobFailed, ObjectStoreUnavailable
        """
        for item in media:
            if "key" in item.part:
                self._load_object(item, deadline)
        if remote := [item for item in media if "url" in item.part]:
            asyncio.run(self._fetch_urls(remote, deadline))

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

    async def _fetch_urls(self, media: Sequence[MediaItem], deadline: Deadline) -> None:
        slots = asyncio.Semaphore(MAX_CONCURRENT_FETCHES)
        async with EgressClient(self._settings.egress_networks, tls_context=self._tls_context) as egress:
            await asyncio.gather(*(self._fetch_url(egress, slots, item, deadline) for item in media))

    async def _fetch_url(
        self, egress: EgressClient, slots: asyncio.Semaphore, item: MediaItem, deadline: Deadline
    ) -> None:
        timeout_s = self._settings.fetch_timeout_s * (VIDEO_TIMEOUT_FACTOR if item.kind == "video" else 1)
        async with slots:
            for delay_s in (*FETCH_RETRY_DELAYS_S, None):
                try:
                    with item.path.open("wb") as file:
                        await egress.download(
                            item.part["url"],
                            file,
                            max_bytes=self._max_bytes[item.kind],
                            timeout_s=deadline.left(timeout_s),
                        )
                except EgressError as error:
                    if delay_s is None or not error.retryable:
                        raise JobFailed(error.code, f"{item.name}: {error.message}") from error
                    await asyncio.sleep(delay_s)
                else:
                    return
