"""What a document is, by its content: names and declared types say what somebody believed."""

import zipfile
from pathlib import Path
from typing import Literal

from worker.prepare.media.errors import MediaError

DocumentKind = Literal["pdf", "pptx", "ppt", "odp"]

PDF_HEAD = 1_024
"""Readers accept a PDF whose header stands within so many bytes."""
OLE2 = bytes.fromhex("d0cf11e0a1b11ae1")
PRESENTATION_STREAM = "PowerPoint Document".encode("utf-16-le")
ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
ODF_MANIFEST = "META-INF/manifest.xml"
ENCRYPTED_ENTRY = b"encryption-data"
ODP = b"application/vnd.oasis.opendocument.presentation"
MAX_UNPACKED_BYTES = 2**30
MAX_MEMBERS = 20_000
MAX_RATIO = 200
"""Unpacked to packed; decks of text reach 20."""


def document_kind(path: Path) -> DocumentKind:
    """Raises MediaError: it is none that can be shown as pages."""
    with path.open("rb") as file:
        head = file.read(PDF_HEAD)
    if not head:
        raise MediaError("document_unreadable", "the file is empty.")
    if head.startswith(b"PK"):
        return _zipped_kind(path)
    if head.startswith(OLE2):
        return _ole2_kind(path)
    if b"%PDF-" in head:
        return "pdf"
    raise MediaError("document_unsupported", "the file is no PDF and no presentation; send PDF, PPTX, PPT or ODP.")


def _zipped_kind(path: Path) -> DocumentKind:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if len(members) > MAX_MEMBERS or unpacked > min(MAX_UNPACKED_BYTES, MAX_RATIO * path.stat().st_size):
                raise MediaError(
                    "document_too_large", f"it unpacks to {unpacked} bytes in {len(members)} files; send it as PDF."
                )
            names = {member.filename for member in members}
            if "ppt/presentation.xml" in names:
                return "pptx"
            if "mimetype" in names and archive.read("mimetype")[: len(ODP)] == ODP:
                if ODF_MANIFEST in names and ENCRYPTED_ENTRY in archive.read(ODF_MANIFEST):
                    raise MediaError("document_encrypted", "it is protected by a password; send it without.")
                return "odp"
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise MediaError("document_unreadable", f"it cannot be unpacked ({error}); it may be cut off.") from error
    raise MediaError("document_unsupported", "it is an archive, but no presentation; send PDF, PPTX, PPT or ODP.")


def _ole2_kind(path: Path) -> DocumentKind:
    content = path.read_bytes()
    if ENCRYPTED_STREAM in content:
        raise MediaError("document_encrypted", "it is protected by a password; send it without.")
    if PRESENTATION_STREAM in content:
        return "ppt"
    raise MediaError("document_unsupported", "it is an Office file, but no presentation; send it as PDF.")
