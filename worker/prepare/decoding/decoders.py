"""The functions that run in the sandbox: each opens one of a client's files and writes what the worker needs.

Arguments and results are small; images and frames go through files. The worker treats what they return and write as
untrusted (outputs.py).
"""

from pathlib import Path
from typing import Any

from families import ImageBounds, VideoBounds
from worker.prepare.media.documents.document import open_document, render_page
from worker.prepare.media.documents.document_kind import detect_document_kind
from worker.prepare.media.images.image import NormalizedImage, normalize_image
from worker.prepare.media.videos.video import extract_frames

PDF_NAME = "converted.pdf"


def write_image(source: Path, bounds: ImageBounds, max_pixels: int, target: Path) -> list[int]:
    """Write an image as PNG; returns its size and the size of its source."""
    return _write_png(normalize_image(source.read_bytes(), bounds=bounds, max_pixels=max_pixels), target)


def write_frames(source: Path, bounds: VideoBounds, frames: Path, sheet: Path) -> list[Any]:
    """Write a video's frames as a ZIP of PNGs, and a contact sheet.

    Returns:
        Width, height, the seconds at which each frame is shown, width and height of the source.
    """
    video = extract_frames(source, bounds, frames=frames, sheet=sheet)
    return [video.width, video.height, video.seconds, video.source_width, video.source_height]


def count_pages(source: Path) -> int | None:
    """Return the number of pages of a PDF; None: the document is a presentation, for ``convert_to_pdf``."""
    if detect_document_kind(source) != "pdf":
        return None
    _, pages = open_document(source, source.parent)
    return pages


def convert_to_pdf(source: Path, folder: Path) -> int:
    """Convert a presentation to ``PDF_NAME`` in an empty folder; returns its number of pages."""
    pdf, pages = open_document(source, folder)
    pdf.rename(folder / PDF_NAME)
    return pages


def write_page(pdf: Path, page: int, bounds: ImageBounds, target: Path) -> list[int]:
    """Write a page as PNG; returns its size and the size of its source.

    Args:
        page: page number, from 1.
    """
    return _write_png(render_page(pdf, page, bounds), target)


def _write_png(image: NormalizedImage, file: Path) -> list[int]:
    file.write_bytes(image.png)
    return [image.width, image.height, image.source_width, image.source_height]
