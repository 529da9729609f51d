"""Detects the kind of a document from its content: file names and declared types may be wrong."""

import zipfile
from pathlib import Path
from typing import Literal

from worker.prepare.media.errors import MediaError

DocumentKind = Literal["pdf", "pptx", "ppt", "odp"]

HEADER_BYTES = 1_024
"""PDF readers accept a header anywhere in these first bytes."""
OLE2_MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
PRESENTATION_STREAM = "PowerPoint Document".encode("utf-16-le")
ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
ODF_MANIFEST = "META-INF/manifest.xml"
ENCRYPTED_ENTRY = b"encryption-data"
ODP_MIME_TYPE = b"application/vnd.oasis.opendocument.presentation"
MAX_UNPACKED_BYTES = 2**30
MAX_MEMBERS = 20_000
MAX_COMPRESSION_RATIO = 200
"""Decks that contain only text reach 20."""
REMOVE_PASSWORD = "it is protected by a password; remove the password."  # noqa: S105 - a message


def detect_document_kind(path: Path) -> DocumentKind:
    """Return the kind of a document.

    Raises:
        MediaError: it is not a document that can be rendered as pages.
    """
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    if not header:
        raise MediaError("document_unreadable", "the file is empty; send the complete file.")
    if header.startswith(b"PK"):
        return _detect_zip_kind(path)
    if header.startswith(OLE2_MAGIC):
        return _detect_ole2_kind(path)
    if b"%PDF-" in header:
        return "pdf"
    message = "the file is neither a PDF nor a presentation; send PDF, PPTX, PPT or ODP."
    raise MediaError("document_unsupported", message)


def _detect_zip_kind(path: Path) -> DocumentKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = _checked_names(archive, path.stat().st_size)
            if "ppt/presentation.xml" in names:
                return "pptx"
            if "mimetype" in names and archive.read("mimetype")[: len(ODP_MIME_TYPE)] == ODP_MIME_TYPE:
                if ODF_MANIFEST in names and ENCRYPTED_ENTRY in archive.read(ODF_MANIFEST):
                    raise MediaError("document_encrypted", REMOVE_PASSWORD)
                return "odp"
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        message = f"it cannot be unpacked ({error}) and may be incomplete; send the complete file."
        raise MediaError("document_unreadable", message) from error
    message = "it is an archive but not a presentation; send PDF, PPTX, PPT or ODP."
    raise MediaError("document_unsupported", message)


def _checked_names(archive: zipfile.ZipFile, packed_bytes: int) -> set[str]:
    """Return the names of an archive's members; refuse an archive that would unpack to too much."""
    members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    max_unpacked = min(MAX_UNPACKED_BYTES, MAX_COMPRESSION_RATIO * packed_bytes)
    if len(members) > MAX_MEMBERS or unpacked > max_unpacked:
        raise MediaError(
            "document_too_large",
            f"it unpacks to {unpacked} bytes in {len(members)} files; the limits are {max_unpacked} bytes and "
            f"{MAX_MEMBERS} files. Send it as PDF.",
        )
    return {member.filename for member in members}


def _detect_ole2_kind(path: Path) -> DocumentKind:
    content = path.read_bytes()
    if ENCRYPTED_STREAM in content:
        raise MediaError("document_encrypted", REMOVE_PASSWORD)
    if PRESENTATION_STREAM in content:
        return "ppt"
    raise MediaError("document_unsupported", "it is an Office file but not a presentation; send it as PDF.")
