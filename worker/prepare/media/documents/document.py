"""Renders the pages of a client's document as images. Runs in the sandbox."""

import math
from pathlib import Path

import pypdfium2
from pypdfium2 import raw

from families import ImageBounds
from worker.prepare.media.documents.document_kind import detect_document_kind
from worker.prepare.media.documents.libreoffice import convert_slides_to_pdf
from worker.prepare.media.documents.pdf_placeholder import check_pages_are_content
from worker.prepare.media.errors import MediaError
from worker.prepare.media.images.image import NormalizedImage, fit_image

DPI = 180
"""Resolution of a page whose tokens fit, as in the model's reference demo."""
POINTS_PER_INCH = 72
MAX_PAGES = 100_000
"""Of a document, before pages are selected. The file declares the number, whether the pages exist or not."""
MAX_SIDE = 16_384
"""Longest side of a page in pixels: a PDF may declare pages of any size."""


def open_document(path: Path, folder: Path) -> tuple[Path, int]:
    """Convert a document to PDF if it is a presentation.

    Args:
        path: the document.
        folder: an empty folder for the conversion.

    Returns:
        The PDF and its number of pages.

    Raises:
        MediaError
    """
    kind = detect_document_kind(path)
    pdf = path if kind == "pdf" else convert_slides_to_pdf(path, kind, folder)
    with _open_pdf(pdf) as document:
        pages = len(document)
        if kind == "pdf":
            check_pages_are_content(document)
    if pages > MAX_PAGES:
        raise MediaError("document_too_long", f"it declares {pages} pages; the limit is {MAX_PAGES}. Split it.")
    return pdf, pages


def render_page(pdf: Path, number: int, bounds: ImageBounds) -> NormalizedImage:
    """Render one page, with its filled-in forms.

    Args:
        number: page number, from 1.
        bounds: limits the size of the image in pixels.

    Raises:
        MediaError
    """
    with _open_pdf(pdf) as document:
        try:
            document.init_forms()
            page = document[number - 1]
            width, height = page.get_size()
            image = page.render(scale=_scale(width, height, bounds), may_draw_forms=True).to_pil()
        except (pypdfium2.PdfiumError, ValueError, OverflowError) as error:
            message = f"page {number} cannot be rendered ({error}); leave it out with `pages`, or repair the document."
            raise MediaError("document_unreadable", message) from error
    try:
        return fit_image(image.convert("RGB"), bounds)
    except MediaError as error:
        raise MediaError(error.code, f"page {number}: {error.message}") from error


def _scale(width: float, height: float, bounds: ImageBounds) -> float:
    """Return the scale of a page in pixels per point; its width and height are in points."""
    if not (width > 0 and height > 0 and math.isfinite(width * height)):
        raise ValueError(f"its size is {width:g} × {height:g}")
    return min(DPI / POINTS_PER_INCH, math.sqrt(bounds.max_pixels / (width * height)), MAX_SIDE / max(width, height))


def _open_pdf(pdf: Path) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(pdf)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            message = "it is protected by a password; remove the password."
            if error.err_code == raw.FPDF_ERR_SECURITY:
                message = "it is encrypted for certain people or programs; send a copy without protection."
            raise MediaError("document_encrypted", message) from error
        if error.err_code == raw.FPDF_ERR_SUCCESS:
            raise MediaError("document_empty", "it has no pages; send a document with pages.") from error
        message = "it is not a readable PDF and may be incomplete; send the complete file."
        raise MediaError("document_unreadable", message) from error
