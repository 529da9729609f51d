"""Converts a job's media files to what the model accepts: images, document pages and video frames.

Each of the client's files is opened in the sandbox, and each decoder has a folder of its own. Document pages come last:
they share the tokens of the context that the rest of the job leaves free.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from families import ImageBounds
from jobs.errors import JobFailed
from jobs.model.documents.request import JobRequest
from jobs.model.page_ranges import PageSelection
from runtime.settings import Settings
from worker.prepare.decoding import outputs
from worker.prepare.decoding.decoder_pool import DecoderPool
from worker.prepare.decoding.decoders import (
    PDF_NAME,
    convert_to_pdf,
    count_pages,
    write_frames,
    write_image,
    write_page,
)
from worker.prepare.fetch import MediaItem
from worker.prepare.media.documents.document import MAX_PAGES
from worker.prepare.media.errors import MediaError
from worker.prepare.preparation import Preparation

IMAGE_TIMEOUT_S = 30.0
"""The largest allowed image takes about 3 s."""
OFFICE_TIMEOUT_S = 120.0
PAGE_TIMEOUT_S = 30.0
VIDEO_TIMEOUT_S = 300.0
MAX_FRAMES = 4_096
"""Of a video, as a decoder returns them; no family selects more."""
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
        pool: runs the decoders.
        preparation: of the job.
        on_progress: called with the number of media items that are done.
    """

    def __init__(
        self,
        request: JobRequest,
        settings: Settings,
        pool: DecoderPool,
        preparation: Preparation,
        on_progress: Callable[[int], None],
    ) -> None:
        self._request = request
        self._settings = settings
        self._family = settings.family
        self._pool = pool
        self._preparation = preparation
        self._on_progress = on_progress
        self._num_folders = 0

    def convert(self, media: Sequence[MediaItem]) -> list[ConvertedMedia]:
        """Convert all media items; returns the result of each, in order.

        Raises:
            JobFailed, SandboxFailed; also what ``on_progress`` and ``preparation.check`` raise.
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
        folder = self._new_folder(item)
        file = folder / "image.png"
        with _named(item):
            reply = self._pool.run(
                self._preparation,
                write_image,
                item.path,
                bounds,
                self._settings.max_image_pixels,
                file,
                readable=item.path,
                writable=folder,
                timeout_s=IMAGE_TIMEOUT_S,
            )
            return _checked_image(file, reply, bounds)

    def _convert_video(self, item: MediaItem) -> ConvertedVideo:
        bounds = self._family.videos.narrow(
            max_frames=item.part.get("max_frames"), max_pixels=item.part.get("max_pixels")
        )
        folder = self._new_folder(item)
        file, sheet = folder / "frames.zip", folder / "sheet.png"
        with _named(item):
            reply = self._pool.run(
                self._preparation,
                write_frames,
                item.path,
                bounds,
                file,
                sheet,
                readable=item.path,
                writable=folder,
                timeout_s=VIDEO_TIMEOUT_S,
            )
            width, height, seconds, source_width, source_height = outputs.parse_list(reply, 5)
            sizes = outputs.parse_sizes([width, height, source_width, source_height], 4)
            times = outputs.parse_seconds(seconds, MAX_FRAMES)
            outputs.check_pixels(sizes[0], len(times) * sizes[1], bounds.max_pixels)
            outputs.check_file(file, max_bytes=outputs.MAX_FRAMES_FILE_BYTES)
            outputs.check_file(sheet, max_bytes=outputs.MAX_IMAGE_FILE_BYTES)
        return ConvertedVideo(file, sheet, sizes[0], sizes[1], times, sizes[2], sizes[3])

    def _open_document(self, index: int, item: MediaItem) -> _Document:
        with _named(item):
            pdf, folder = item.path, self._new_folder(item)
            pages = self._pool.run(
                self._preparation,
                count_pages,
                item.path,
                readable=item.path,
                writable=folder,
                timeout_s=PAGE_TIMEOUT_S,
            )
            if pages is None:
                if self._settings.sandbox == "off":
                    # LibreOffice renders any image of this machine that a deck links to by file://.
                    raise MediaError("office_unavailable", "this service cannot convert slides; send a PDF.")
                pages = self._pool.run(
                    self._preparation,
                    convert_to_pdf,
                    item.path,
                    folder,
                    readable=item.path,
                    writable=folder,
                    timeout_s=OFFICE_TIMEOUT_S,
                    starts_programs=True,
                )
                pdf = folder / PDF_NAME
                outputs.check_file(pdf, max_bytes=outputs.MAX_PDF_BYTES)
            num_pages = outputs.parse_count(pages, MAX_PAGES)
        selection = item.part.get("pages")
        try:
            selected = (
                PageSelection.parse(selection).page_numbers(num_pages) if selection else list(range(1, num_pages + 1))
            )
        except ValueError as error:
            raise JobFailed("document_pages", f"{item.name}: {error}") from error
        return _Document(index, pdf, selected)

    def _render_page(self, item: MediaItem, pdf: Path, page: int, bounds: ImageBounds) -> ConvertedImage:
        folder = self._new_folder(item)
        file = folder / "page.png"
        with _named(item):
            reply = self._pool.run(
                self._preparation,
                write_page,
                pdf,
                page,
                bounds,
                file,
                readable=pdf,
                writable=folder,
                timeout_s=PAGE_TIMEOUT_S,
            )
            return _checked_image(file, reply, bounds, page=page)

    def _new_folder(self, item: MediaItem) -> Path:
        """Create an empty folder for the outputs of one decoder."""
        self._num_folders += 1
        folder = item.path.parent / f"output-{self._num_folders}"
        folder.mkdir()
        return folder

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
                "`pages`, or lower `thinking.budget_tokens`, `max_answer_tokens` or `max_total_tokens`.",
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


def max_text_tokens(messages: Sequence[dict[str, Any]]) -> int:
    """Return an upper bound of the tokens of a conversation's text.

    A token has at least one byte, and a turn adds a few special tokens.
    """
    parts = [part for message in messages for part in message["content"]]
    return sum(len(part.get("text", "").encode()) for part in parts) + SPECIAL_TOKENS_PER_TURN * len(messages)


@contextmanager
def _named(item: MediaItem) -> Iterator[None]:
    """Fail the job with the name of the item when its file is refused."""
    try:
        yield
    except MediaError as error:
        raise JobFailed(error.code, f"{item.name}: {error.message}") from error


def _checked_image(file: Path, reply: Any, bounds: ImageBounds, *, page: int | None = None) -> ConvertedImage:
    """Return the image that a decoder wrote. Raises MediaError if it is not what the decoder had to write."""
    sizes = outputs.parse_sizes(reply, 4)
    outputs.check_pixels(sizes[0], sizes[1], bounds.max_pixels)
    outputs.check_png(file, sizes[0], sizes[1])
    return ConvertedImage(file, sizes[0], sizes[1], sizes[2], sizes[3], page)
