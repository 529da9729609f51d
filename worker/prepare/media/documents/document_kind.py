"""Detects the kind of a document from its content: file names and declared types may be wrong."""

import zipfile
from pathlib import Path
from typing import Literal

from worker.prepare.media.documents.package import ODF_MANIFEST, Package, check_archive
from worker.prepare.media.errors import MediaError
from worker.prepare.media.file_kind import HEAD_BYTES, describe_file

DocumentKind = Literal["pdf", "pptx", "ppt", "odp"]

HEADER_BYTES = 1_024
"""PDF readers accept a header anywhere in these first bytes."""
OLE2_MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
PRESENTATION_STREAM = "PowerPoint Document".encode("utf-16-le")
SLIDE_RECORD = bytes.fromhex("0f00ee03")
"""Start of each slide in a PPT: record version 15, type 1006."""
ENCRYPTED_STREAMS = tuple(name.encode("utf-16-le") for name in ("EncryptedPackage", "EncryptedSummary"))
OLE2_KINDS = {"WordDocument": "a Word document", "Workbook": "an Excel workbook", "__substg1.0_": "an Outlook message"}
"""By the name of a stream."""
OOXML_KINDS = {"document": "a Word document", "workbook": "an Excel workbook", "VisioDocument": "a Visio drawing"}
"""By the root element of the main part."""
USUAL_ROOTS = {"word": "document", "xl": "workbook"}
"""By the folder of a main part that cannot be read."""
ODF_CONTENT = "content.xml"
ENCRYPTED_ENTRY = b"encryption-data"
ODP_MIME_TYPE = b"application/vnd.oasis.opendocument.presentation"
MIME_KINDS = {
    b"application/vnd.oasis.opendocument.text": "an OpenDocument text",
    b"application/vnd.oasis.opendocument.spreadsheet": "an OpenDocument spreadsheet",
    b"application/vnd.oasis.opendocument.graphics": "an OpenDocument drawing",
    b"application/epub+zip": "an EPUB book",
}
MAX_MIME_BYTES = 200
REMOVE_PASSWORD = "it is protected by a password; remove the password."  # noqa: S105 - a message
NO_SLIDES = "it has no slides; send a presentation with slides."


def detect_document_kind(path: Path) -> DocumentKind:
    """Return the kind of a document.

    Raises:
        MediaError: it is not a document that can be rendered as pages.
    """
    with path.open("rb") as file:
        header = file.read(HEAD_BYTES)
    if not header:
        raise MediaError("document_unreadable", "the file is empty; send the complete file.")
    if header.startswith(b"PK"):
        return _detect_zip_kind(path)
    if header.startswith(OLE2_MAGIC):
        return _detect_ole2_kind(path)
    if b"%PDF-" in header[:HEADER_BYTES]:
        return "pdf"
    kind = describe_file(header) or "of an unknown kind"
    raise MediaError("document_unsupported", f"the file is {kind}, not a document; send PDF, PPTX, PPT or ODP.")


def _detect_zip_kind(path: Path) -> DocumentKind:
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path.stat().st_size)
            return _detect_package_kind(Package(archive))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        message = f"it cannot be unpacked ({error}) and may be incomplete; send the complete file."
        raise MediaError("document_unreadable", message) from error


def _detect_package_kind(package: Package) -> DocumentKind:
    mime_type = package.read("mimetype", MAX_MIME_BYTES).strip() or package.odf_type()
    if mime_type.startswith(ODP_MIME_TYPE):
        _check_odp(package)
        return "odp"
    if main := package.main_part():
        return _check_ooxml(package, main)
    kind = MIME_KINDS.get(mime_type, "an archive")
    if "Index/Document.iwa" in package:
        kind = "an Apple Keynote, Pages or Numbers document"
    raise _not_a_presentation(kind)


def _check_ooxml(package: Package, main: str) -> DocumentKind:
    root = (package.root_name(main) if main in package else "") or USUAL_ROOTS.get(main.partition("/")[0], "")
    if root == "presentation":
        if not package.has_slides(main):
            raise MediaError("document_empty", NO_SLIDES)
        if not package.has_visible_slides(main):
            raise MediaError("document_empty", "all its slides are hidden; show those that the model is to see.")
        return "pptx"
    if not root:
        message = f"its main part, {main[:100]}, is missing or damaged; send the complete file."
        raise MediaError("document_unreadable", message)
    raise _not_a_presentation(OOXML_KINDS.get(root, "an Office file"))


def _check_odp(package: Package) -> None:
    if ENCRYPTED_ENTRY in package.read(ODF_MANIFEST):
        raise MediaError("document_encrypted", REMOVE_PASSWORD)
    if ODF_CONTENT not in package:
        raise MediaError("document_unreadable", "its content is missing; send the complete file.")
    if not package.has_pages(ODF_CONTENT):
        raise MediaError("document_empty", NO_SLIDES)


def _detect_ole2_kind(path: Path) -> DocumentKind:
    content = path.read_bytes()
    if any(stream in content for stream in ENCRYPTED_STREAMS):
        raise MediaError("document_encrypted", REMOVE_PASSWORD)
    if PRESENTATION_STREAM in content:
        if SLIDE_RECORD not in content:
            raise MediaError("document_empty", NO_SLIDES)
        return "ppt"
    names = (kind for stream, kind in OLE2_KINDS.items() if stream.encode("utf-16-le") in content)
    raise _not_a_presentation(next(names, "an Office file"))


def _not_a_presentation(kind: str) -> MediaError:
    message = f"it is {kind}, not a presentation; send it as PDF. PDF, PPTX, PPT and ODP are accepted."
    return MediaError("document_unsupported", message)
