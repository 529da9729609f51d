"""Recognizes PDFs whose pages only say that another program is needed: dynamic XFA forms and portfolios."""

import io
import re
from contextlib import suppress

import pypdfium2
from pypdfium2 import raw

from worker.prepare.media.errors import MediaError

XFA_FORMS = (raw.FORMTYPE_XFA_FULL, raw.FORMTYPE_XFA_FOREGROUND)
MAX_PLACEHOLDER_PAGES = 4
"""A placeholder has one or two pages; the page of a longer document is one of many."""
PLEASE_WAIT = re.compile(r"please wait", re.IGNORECASE)
"""In the placeholder that Adobe's form designer writes."""
COLLECTION = re.compile(rb"/Collection\s*(?:(\d+) 0 R|<<)")
ROOT = re.compile(rb"/Root (\d+) 0 R")
HIDDEN_VIEW = re.compile(rb"/View\s*/H\b")
"""The portfolio's files are hidden at first: readers show the pages."""


def check_pages_are_content(document: pypdfium2.PdfDocument) -> None:
    """Refuse a PDF whose pages are only a placeholder.

    Raises:
        MediaError
    """
    if len(document) > MAX_PLACEHOLDER_PAGES:
        return
    form = document.get_formtype()
    if form == raw.FORMTYPE_XFA_FULL or (form in XFA_FORMS and _is_form_placeholder(document)):
        message = (
            "it is a dynamic XFA form, whose pages only Adobe's programs create; open it there, print it to a PDF and "
            "send that."
        )
        raise MediaError("document_unsupported", message)
    attachments = document.count_attachments()
    if attachments and _is_portfolio(document):
        message = (
            f"it is a PDF portfolio: its page is only a cover, and the content is in its {attachments} attached "
            "file(s); extract and send those."
        )
        raise MediaError("document_unsupported", message)


def _is_form_placeholder(document: pypdfium2.PdfDocument) -> bool:
    """Whether no field of an XFA form is on a page, or the text says that the form is still loading."""
    has_fields, text = False, ""
    with suppress(pypdfium2.PdfiumError):  # rendering says which page is damaged
        for page in document:
            has_fields = has_fields or any(
                _annotation_type(page, number) == raw.FPDF_ANNOT_WIDGET
                for number in range(raw.FPDFPage_GetAnnotCount(page.raw))
            )
            text += page.get_textpage().get_text_bounded()
    return not has_fields or bool(PLEASE_WAIT.search(text))


def _annotation_type(page: pypdfium2.PdfPage, number: int) -> int:
    annotation = raw.FPDFPage_GetAnnot(page.raw, number)
    try:
        return int(raw.FPDFAnnot_GetSubtype(annotation))
    finally:
        raw.FPDFPage_CloseAnnot(annotation)


def _is_portfolio(document: pypdfium2.PdfDocument) -> bool:
    """Whether the catalog contains a collection.

    PDFium has no function for it, so a copy is read, which PDFium writes with plain objects.
    """
    copy = io.BytesIO()
    with suppress(pypdfium2.PdfiumError):
        document.save(copy, flags=raw.FPDF_REMOVE_SECURITY)
    data = copy.getvalue()
    roots = ROOT.findall(data)
    collection = COLLECTION.search(_object(data, roots[-1])) if roots else None
    if collection is None:
        return False
    content = _object(data, collection[1]) if collection[1] else collection.string[collection.start() :]
    return not HIDDEN_VIEW.search(content)


def _object(data: bytes, number: bytes) -> bytes:
    start = re.search(rb"(?:^|[\r\n])" + number + rb" 0 obj\b", data)
    return data[start.end() : data.find(b"endobj", start.end())] if start else b""
