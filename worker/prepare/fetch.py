"""A job's media as the client gave them: from the object store, or from their URLs, into files."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import JobFailed
from jobs.objects.client import ObjectNotFound
from jobs.objects.store import ObjectStore
from runtime.settings import Settings
from worker.egress.client import EgressClient
from worker.egress.errors import EgressError
from worker.prepare.deadline import Deadline

NAMES = {"image": "Image", "document": "Document", "video": "Video"}
PAUSES_S = (0.5, 2.0)
"""Between tries at a URL whose failure may pass; its host may be restarting."""
AT_ONCE = 8
"""URLs of one job that are fetched side by side."""
VIDEO_PATIENCE = 10
"""A video is fetched for so many times as long as other media."""


@dataclass(frozen=True)
class MediaItem:
    part: dict[str, Any]
    """As it stands in the stored request."""
    name: str
    """As an error calls it: ``Image 2``."""
    path: Path

    @property
    def kind(self) -> str:
        return str(self.part["type"])


def list_media(messages: Sequence[dict[str, Any]], folder: Path) -> list[MediaItem]:
    """The media of a conversation, in order; their files are to come."""
    media: list[MediaItem] = []
    counts = dict.fromkeys(NAMES, 0)
    for message in messages:
        for part in message["content"]:
            if (kind := part["type"]) in NAMES:
                counts[kind] += 1
                media.append(MediaItem(part, f"{NAMES[kind]} {counts[kind]}", folder / f"{kind}-{counts[kind]}"))
    return media


class MediaFetcher:
    def __init__(self, object_store: ObjectStore, settings: Settings) -> None:
        self._object_store = object_store
        self._settings = settings
        self._max_bytes = {
            "image": settings.max_image_bytes,
            "document": settings.max_document_bytes,
            "video": settings.max_video_bytes,
        }

    def fetch(self, media: Sequence[MediaItem], deadline: Deadline) -> None:
        """Write each medium's file.

        Raises:
            JobFailed, ObjectStoreUnavailable
        """
        for medium in media:
            if "key" in medium.part:
                try:
                    self._object_store.download(medium.part["key"], medium.path)
                except ObjectNotFound:
                    raise JobFailed("media_missing", f"{medium.name} is gone from the object store.") from None
        if remote := [medium for medium in media if "url" in medium.part]:
            asyncio.run(self._fetch_all(remote, deadline))

    async def _fetch_all(self, media: Sequence[MediaItem], deadline: Deadline) -> None:
        slots = asyncio.Semaphore(AT_ONCE)
        async with EgressClient(self._settings.egress_allow) as egress:
            await asyncio.gather(*(self._fetch(egress, slots, medium, deadline) for medium in media))

    async def _fetch(
        self, egress: EgressClient, slots: asyncio.Semaphore, medium: MediaItem, deadline: Deadline
    ) -> None:
        limit_s = self._settings.fetch_timeout_s * (VIDEO_PATIENCE if medium.kind == "video" else 1)
        async with slots:
            for pause in (*PAUSES_S, None):
                try:
                    with medium.path.open("wb") as file:
                        await egress.download(
                            medium.part["url"],
                            file,
                            max_bytes=self._max_bytes[medium.kind],
                            timeout_s=deadline.left(limit_s),
                        )
                except EgressError as error:
                    if pause is None or not error.retryable:
                        raise JobFailed(error.code, f"{medium.name}: {error.message}") from error
                    await asyncio.sleep(pause)
                else:
                    return
