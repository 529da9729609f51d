"""A client's document as pictures of its pages. Runs in the sandbox."""

import math
from pathlib import Path

import pypdfium2
from pypdfium2 import raw

from families import ImageBounds
from worker.prepare.media.document_kind import document_kind
from worker.prepare.media.errors import MediaError
from worker.prepare.media.image import NormalizedImage, fitted
from worker.prepare.media.libreoffice import slides_to_pdf

DPI = 180
"""Of a page whose tokens fit, as in the model's reference demo."""
POINTS_PER_INCH = 72
MAX_PAGES = 100_000
"""Of a document, before any are chosen. The number stands in the file, whether the pages are there or not."""
MAX_SIDE = 16_384
"""In pixels: a page may call itself a mile long."""


def open_document(path: Path, folder: Path) -> tuple[Path, int]:
    """A PDF of the document, and its number of pages.

    Raises:
        MediaError
    """
    kind = document_kind(path)
    pdf = path if kind == "pdf" else slides_to_pdf(path, kind, folder)
    with _opened(pdf) as document:
        pages = len(document)
    if pages > MAX_PAGES:
        raise MediaError(
            "document_too_long", f"it says that it has {pages} pages; more than {MAX_PAGES} are not opened."
        )
    return pdf, pages


def render_page(pdf: Path, number: int, bounds: ImageBounds) -> NormalizedImage:
    """One page, counted from 1, in at most ``bounds.max_pixels``; forms are drawn as filled in.

    Raises:
        MediaError
    """
    with _opened(pdf) as document:
        try:
            document.init_forms()
            page = document[number - 1]
            width, height = page.get_size()
            picture = page.render(scale=_scale(width, height, bounds), may_draw_forms=True).to_pil()
        except (pypdfium2.PdfiumError, ValueError, OverflowError) as error:
            raise MediaError("document_unreadable", f"page {number} cannot be drawn ({error}).") from error
    try:
        return fitted(picture.convert("RGB"), bounds)
    except MediaError as error:
        raise MediaError(error.code, f"page {number}: {error.message}") from error


def _scale(width: float, height: float, bounds: ImageBounds) -> float:
    """Pixels per point."""
    if not (width > 0 and height > 0 and math.isfinite(width * height)):
        raise ValueError(f"its size is {width:g} × {height:g}")
    return min(DPI / POINTS_PER_INCH, math.sqrt(bounds.max_pixels / (width * height)), MAX_SIDE / max(width, height))


def _opened(pdf: Path) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(pdf)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise MediaError("document_encrypted", "it is protected by a password; send it without.") from error
        if error.err_code == raw.FPDF_ERR_SUCCESS:
            raise MediaError("document_empty", "it has no pages.") from error
        raise MediaError("document_unreadable", "it is no PDF that can be read; it may be cut off.") from error
