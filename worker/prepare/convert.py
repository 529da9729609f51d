"""Converts a job's media files to what the model accepts: images, document pages and video frames.

Each of the client's files is opened in the sandbox. Document pages come last: they share the tokens of the context that
the rest of the job leaves free.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from families import ImageBounds
from jobs.errors import JobFailed
from jobs.model.page_ranges import PageSelection
from jobs.model.request import JobRequest
from runtime.settings import Settings
from worker.prepare.deadline import Deadline
from worker.prepare.fetch import MediaItem
from worker.prepare.media.document import open_document, render_page
from worker.prepare.media.errors import MediaError
from worker.prepare.media.image import NormalizedImage, normalize_image
from worker.prepare.media.video import extract_frames
from worker.prepare.sandbox.process import run_sandboxed

IMAGE_TIMEOUT_S = 30.0
"""The largest allowed image takes about 3 s."""
OFFICE_TIMEOUT_S = 120.0
PAGE_TIMEOUT_S = 30.0
VIDEO_TIMEOUT_S = 300.0
SPECIAL_TOKENS_PER_TURN = 16


@dataclass(frozen=True)
class ConvertedImage:
    """An image, or a page of a document."""

    file: Path
    """PNG."""
    width: int
    height: int
    source_width: int
    source_height: int
    page: int | None = None
    """Page number, from 1."""


@dataclass(frozen=True)
class ConvertedVideo:
    file: Path
    """ZIP of one PNG per frame."""
    sheet: Path
    """PNG of the contact sheet."""
    width: int
    height: int
    seconds: tuple[float, ...]
    """When each frame is shown."""
    source_width: int
    source_height: int


ConvertedMedia = list[ConvertedImage] | list[ConvertedVideo]
"""What one media item becomes: an image, the pages of a document, or the frames of a video."""


@dataclass(frozen=True)
class _Document:
    index: int
    """Among the job's media."""
    pdf: Path
    pages: list[int]
    """Selected page numbers, from 1."""


class MediaConverter:
    """Converts the media of one job.

    Args:
        request: the job's request.
        settings: of the service.
        deadline: limit for preparing the whole job.
        on_progress: called with the number of media items that are done.
    """

    def __init__(
        self, request: JobRequest, settings: Settings, deadline: Deadline, on_progress: Callable[[int], None]
    ) -> None:
        self._request = request
        self._settings = settings
        self._family = settings.family
        self._deadline = deadline
        self._on_progress = on_progress

    def convert(self, media: Sequence[MediaItem]) -> list[ConvertedMedia]:
        """Convert all media items; returns the result of each, in order.

        Raises:
            JobFailed: also whatever ``on_progress`` raises.
        """
        converted: list[ConvertedMedia] = [[] for _ in media]
        documents: list[_Document] = []
        for index, item in enumerate(media):
            self._on_progress(sum(map(bool, converted)))
            if item.kind == "image":
                converted[index] = [self._convert_image(item)]
            elif item.kind == "video":
                converted[index] = [self._convert_video(item)]
            else:
                documents.append(self._open_document(index, item))
        if documents:
            bounds = self._page_bounds(documents, used_tokens=sum(map(self._tokens, converted)))
            for document in documents:
                self._on_progress(sum(map(bool, converted)))
                item = media[document.index]
                converted[document.index] = [
                    self._render_page(item, document.pdf, page, bounds) for page in document.pages
                ]
        return converted

    def _convert_image(self, item: MediaItem) -> ConvertedImage:
        bounds = self._family.images.narrow(item.part.get("max_pixels"))
        file = item.path.with_suffix(".png")
        max_pixels = self._settings.max_image_pixels

        def work() -> list[int]:
            return _write_png(normalize_image(item.path.read_bytes(), bounds=bounds, max_pixels=max_pixels), file)

        return ConvertedImage(file, *self._run(item, work, IMAGE_TIMEOUT_S))

    def _convert_video(self, item: MediaItem) -> ConvertedVideo:
        bounds = self._family.videos.narrow(
            max_frames=item.part.get("max_frames"), max_pixels=item.part.get("max_pixels")
        )
        file, sheet = item.path.with_suffix(".zip"), item.path.with_suffix(".png")

        def work() -> list[Any]:
            video = extract_frames(item.path, bounds, frames=file, sheet=sheet)
            return [video.width, video.height, video.seconds, video.source_width, video.source_height]

        width, height, seconds, *source = self._run(item, work, VIDEO_TIMEOUT_S)
        return ConvertedVideo(file, sheet, width, height, tuple(seconds), *source)

    def _open_document(self, index: int, item: MediaItem) -> _Document:
        folder = item.path.with_suffix(".office")
        folder.mkdir()

        def work() -> list[Any]:
            pdf, pages = open_document(item.path, folder)
            return [str(pdf), pages]

        pdf, num_pages = self._run(item, work, OFFICE_TIMEOUT_S, starts_programs=True)
        selection = item.part.get("pages")
        try:
            pages = (
                PageSelection.parse(selection).page_numbers(num_pages) if selection else list(range(1, num_pages + 1))
            )
        except ValueError as error:
            raise JobFailed("document_pages", f"{item.name}: {error}") from error
        return _Document(index, Path(pdf), pages)

    def _render_page(self, item: MediaItem, pdf: Path, page: int, bounds: ImageBounds) -> ConvertedImage:
        file = item.path.with_suffix(f".{page}.png")
        sizes = self._run(item, lambda: _write_png(render_page(pdf, page, bounds), file), PAGE_TIMEOUT_S)
        return replace(ConvertedImage(file, *sizes), page=page)

    def _page_bounds(self, documents: Sequence[_Document], *, used_tokens: int) -> ImageBounds:
        """Return how large each page may be, so that all pages fit into the context with the rest of the job.

        Args:
            documents: all documents of the job.
            used_tokens: tokens of the job's other media.
        """
        family, images = self._family, self._family.images
        num_pages = sum(len(document.pages) for document in documents)
        if num_pages > family.max_pages:
            raise JobFailed(
                "document_too_long",
                f"The documents have {num_pages} pages; the limit per job is {family.max_pages}. Select some with "
                f"`pages`, such as '1-{family.max_pages}'.",
            )
        budget = self._request.thinking_budget
        thinking_tokens = family.thinking_budget if budget < 0 else budget
        text_tokens = max_text_tokens(self._request.messages) + thinking_tokens + self._request.max_answer_tokens
        free_tokens = family.context_tokens - used_tokens - text_tokens
        max_pixels = (free_tokens // num_pages - 2) * images.factor**2
        smallest = min(family.min_page_pixels, images.max_pixels)
        if max_pixels < smallest:
            missing = num_pages * (-(-smallest // images.factor**2) + 2) - free_tokens
            raise JobFailed(
                "context_exceeded",
                f"{num_pages} pages are {missing} tokens too long for the model's context of {family.context_tokens} "
                "tokens, with the text, the other media, the thinking budget and the answer. Select fewer pages with "
                "`pages`, or lower `thinking.budget_tokens` or `max_answer_tokens`.",
            )
        # Rounding to whole patches may add one patch along each side of a page.
        return images.narrow(int(max_pixels * 0.9))

    def _tokens(self, converted: ConvertedMedia) -> int:
        return sum(
            self._family.images.token_count(item.width, item.height)
            if isinstance(item, ConvertedImage)
            else self._family.videos.max_tokens(item.width, item.height, item.seconds)
            for item in converted
        )

    def _run(self, item: MediaItem, work: Callable[[], Any], timeout_s: float, *, starts_programs: bool = False) -> Any:
        """Run ``work`` in the sandbox; a refused file fails the job with the name of the item."""
        try:
            return run_sandboxed(
                work,
                folder=item.path.parent,
                timeout_s=self._deadline.left(timeout_s),
                memory_bytes=self._settings.decode_memory_bytes,
                starts_programs=starts_programs,
            )
        except MediaError as error:
            raise JobFailed(error.code, f"{item.name}: {error.message}") from error


def max_text_tokens(messages: Sequence[dict[str, Any]]) -> int:
    """Return an upper bound of the tokens of a conversation's text.

    A token has at least one byte, and a turn adds a few special tokens.
    """
    parts = [part for message in messages for part in message["content"]]
    return sum(len(part.get("text", "").encode()) for part in parts) + SPECIAL_TOKENS_PER_TURN * len(messages)


def _write_png(image: NormalizedImage, file: Path) -> list[int]:
    """Write an image; returns its size and the size of its source."""
    file.write_bytes(image.png)
    return [image.width, image.height, image.source_width, image.source_height]
