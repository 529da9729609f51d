"""A job's media files to what the model takes: pictures, pages and frames, in files of our own.

Each client's file is opened in the sandbox. Pages come last: they share what the rest of the job leaves of the context.
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

IMAGE_LIMIT_S = 30.0
"""The largest allowed picture takes about 3 s."""
OFFICE_LIMIT_S = 120.0
PAGE_LIMIT_S = 30.0
VIDEO_LIMIT_S = 300.0
SPECIAL_TOKENS_PER_TURN = 16


@dataclass(frozen=True)
class ConvertedImage:
    file: Path
    width: int
    height: int
    source_width: int
    source_height: int
    page: int | None = None


@dataclass(frozen=True)
class ConvertedVideo:
    file: Path
    """ZIP of PNGs."""
    sheet: Path
    width: int
    height: int
    seconds: tuple[float, ...]
    source_width: int
    source_height: int


ConvertedMedia = list[ConvertedImage] | list[ConvertedVideo]
"""What one medium becomes: a picture, a document's pages, or a video's frames."""


@dataclass(frozen=True)
class _Document:
    number: int
    """Among the job's media."""
    pdf: Path
    pages: list[int]


class MediaConverter:
    """Of one job.

    Args:
        on_progress: called with the media that are done.
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
        """What each medium becomes, in order.

        Raises:
            JobFailed: and whatever ``on_progress`` raises.
        """
        converted: list[ConvertedMedia] = [[] for _ in media]
        documents: list[_Document] = []
        for number, medium in enumerate(media):
            self._on_progress(sum(map(bool, converted)))
            if medium.kind == "image":
                converted[number] = [self._image(medium)]
            elif medium.kind == "video":
                converted[number] = [self._video(medium)]
            else:
                documents.append(self._open(number, medium))
        if documents:
            bounds = self._page_bounds(documents, used=sum(map(self._tokens, converted)))
            for document in documents:
                self._on_progress(sum(map(bool, converted)))
                converted[document.number] = [
                    self._page(media[document.number], document.pdf, number, bounds) for number in document.pages
                ]
        return converted

    def _image(self, medium: MediaItem) -> ConvertedImage:
        bounds = self._family.images.narrow(medium.part.get("max_pixels"))
        file = medium.path.with_suffix(".png")

        def work() -> list[int]:
            return _written(
                normalize_image(medium.path.read_bytes(), bounds=bounds, max_pixels=self._settings.max_image_pixels),
                file,
            )

        return ConvertedImage(file, *self._run(medium, work, IMAGE_LIMIT_S))

    def _video(self, medium: MediaItem) -> ConvertedVideo:
        asked = medium.part
        bounds = self._family.videos.narrow(max_frames=asked.get("max_frames"), max_pixels=asked.get("max_pixels"))
        file, sheet = medium.path.with_suffix(".zip"), medium.path.with_suffix(".png")

        def work() -> list[Any]:
            video = extract_frames(medium.path, bounds, frames=file, sheet=sheet)
            return [video.width, video.height, video.seconds, video.source_width, video.source_height]

        width, height, seconds, *source = self._run(medium, work, VIDEO_LIMIT_S)
        return ConvertedVideo(file, sheet, width, height, tuple(seconds), *source)

    def _open(self, number: int, medium: MediaItem) -> _Document:
        folder = medium.path.with_suffix(".office")
        folder.mkdir()

        def work() -> list[Any]:
            pdf, pages = open_document(medium.path, folder)
            return [str(pdf), pages]

        pdf, total = self._run(medium, work, OFFICE_LIMIT_S, starts_programs=True)
        chosen = medium.part.get("pages")
        try:
            pages = PageSelection.parse(chosen).of(total) if chosen else list(range(1, total + 1))
        except ValueError as error:
            raise JobFailed("document_pages", f"{medium.name}: {error}") from error
        return _Document(number, Path(pdf), pages)

    def _page(self, medium: MediaItem, pdf: Path, number: int, bounds: ImageBounds) -> ConvertedImage:
        file = medium.path.with_suffix(f".{number}.png")
        sizes = self._run(medium, lambda: _written(render_page(pdf, number, bounds), file), PAGE_LIMIT_S)
        return replace(ConvertedImage(file, *sizes), page=number)

    def _page_bounds(self, documents: Sequence[_Document], *, used: int) -> ImageBounds:
        """How large each page may be, so that all fit into the context beside the rest of the job."""
        family, images = self._family, self._family.images
        count = sum(len(document.pages) for document in documents)
        if count > family.max_pages:
            raise JobFailed(
                "document_too_long",
                f"The documents have {count} pages; a job takes {family.max_pages}. Choose some with "
                f"`pages`, such as '1-{family.max_pages}'.",
            )
        budget = self._request.thinking_budget
        thinking = family.thinking_budget if budget < 0 else budget
        spoken = max_text_tokens(self._request.messages) + thinking + self._request.max_answer_tokens
        room = family.context_tokens - used - spoken
        pixels = (room // count - 2) * images.factor**2
        if pixels < min(family.min_page_pixels, images.max_pixels):
            raise JobFailed(
                "context_exceeded",
                f"{count} pages do not fit into the model's {family.context_tokens} tokens beside the text, the other "
                "media, the thinking budget and the answer. Choose fewer with `pages`, or ask for less.",
            )
        # Rounding to whole patches may add one along each side of a page.
        return images.narrow(int(pixels * 0.9))

    def _tokens(self, converted: ConvertedMedia) -> int:
        return sum(
            self._family.images.token_count(item.width, item.height)
            if isinstance(item, ConvertedImage)
            else self._family.videos.max_tokens(item.width, item.height, item.seconds)
            for item in converted
        )

    def _run(self, medium: MediaItem, work: Callable[[], Any], limit_s: float, *, starts_programs: bool = False) -> Any:
        try:
            return run_sandboxed(
                work,
                folder=medium.path.parent,
                timeout_s=self._deadline.left(limit_s),
                memory_bytes=self._settings.decode_memory_bytes,
                starts_programs=starts_programs,
            )
        except MediaError as error:
            raise JobFailed(error.code, f"{medium.name}: {error.message}") from error


def max_text_tokens(messages: Sequence[dict[str, Any]]) -> int:
    """Tokens of a conversation's text, at most: a token is a byte at least, and a turn has a few special_tokens."""
    parts = [part for message in messages for part in message["content"]]
    return sum(len(part.get("text", "").encode()) for part in parts) + SPECIAL_TOKENS_PER_TURN * len(messages)


def _written(image: NormalizedImage, file: Path) -> list[int]:
    file.write_bytes(image.png)
    return [image.width, image.height, image.source_width, image.source_height]
