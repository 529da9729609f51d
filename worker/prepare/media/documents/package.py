"""Reads the parts of Office files that are ZIP archives: OOXML (PPTX) and OpenDocument (ODP)."""

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, Literal
from urllib.parse import unquote
from xml.etree import ElementTree

from worker.prepare.media.errors import MediaError

ODF_MANIFEST = "META-INF/manifest.xml"
MAIN_RELATIONSHIP = "/relationships/officeDocument"
"""End of the type of the relationship to the main part, in both variants of the standard."""
USUAL_MAIN_PARTS = ("ppt/presentation.xml", "word/document.xml", "xl/workbook.xml")
"""Used where the relationships are missing."""
RELATIONSHIP_ID = re.compile(r"\{.*/relationships\}id$")
"""The attribute that refers to a relationship, in both variants of the standard."""
MAX_PART_BYTES = 64 * 2**20
"""Of one XML part that is read here."""
ENCRYPTED_FLAG = 1
MAX_UNPACKED_BYTES = 2**30
MAX_MEMBERS = 20_000
SUSPICIOUS_BYTES = 256 * 2**20
"""Below, any compression is accepted: a drawing on white packs to a five-hundredth."""
MAX_COMPRESSION_RATIO = 200
"""Decks that contain only text reach 20."""
OPENDOCUMENT_PAGE = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}page"


class Package:
    """An opened archive. Its names are compared without case, as the standard wants.

    Args:
        archive: the ZIP file.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = {_normalized(name): name for name in archive.namelist()}

    def __contains__(self, name: str) -> bool:
        return _normalized(name) in self._names

    def read(self, name: str, max_bytes: int = MAX_PART_BYTES) -> bytes:
        """Return the first bytes of a part; nothing if there is none."""
        if name not in self:
            return b""
        with self.open(name) as part:
            return part.read(max_bytes)

    def open(self, name: str) -> BinaryIO:
        return self._archive.open(self._names[_normalized(name)])  # type: ignore[return-value]

    def main_part(self) -> str | None:
        """Return the name of an OOXML file's main part, which its relationships tell. None: it is no OOXML file."""
        for element in self._relationships(""):
            if element.get("Type", "").endswith(MAIN_RELATIONSHIP):
                return self._target("", element)
        return next((name for name in USUAL_MAIN_PARTS if name in self), None)

    def _relationships(self, part: str) -> Iterator[ElementTree.Element]:
        """Yield the relationships of a part, or of the whole package (``""``), to other parts."""
        folder, name = posixpath.split(part)
        for element in _elements(io.BytesIO(self.read(posixpath.join(folder, "_rels", f"{name}.rels"))), "start"):
            if _local(element) == "Relationship" and element.get("TargetMode") != "External":
                yield element

    def _target(self, part: str, relationship: ElementTree.Element) -> str:
        """Return the name of the part that a relationship of ``part`` refers to; it may be missing."""
        folder = posixpath.dirname(part)
        name = posixpath.normpath(posixpath.join("/", folder, relationship.get("Target", ""))).lstrip("/")
        # The target is a URI. Programs that write other names than ASCII do not escape the name in the archive.
        return name if name in self else unquote(name)

    def odf_type(self) -> bytes:
        """Return the type of an OpenDocument file by its manifest: some programs write no other. Empty: unknown."""
        for element in _elements(io.BytesIO(self.read(ODF_MANIFEST))):
            names = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
            if names.get("full-path") == "/":
                return names.get("media-type", "").encode()
        return b""

    def root_name(self, name: str) -> str:
        """Return the name of a part's root element, without its namespace; empty if it is no XML."""
        with self.open(name) as part:
            return next((_local(element) for element in _elements(part, event="start")), "")

    def has_slides(self, name: str) -> bool:
        """Return whether the main part of a PPTX lists slides."""
        with self.open(name) as part:
            return any(_local(element) == "sldId" for element in _elements(part, must_be_whole=True))

    def has_visible_slides(self, main: str) -> bool:
        """Return whether a slide that the main part of a PPTX lists is not hidden, or cannot be found."""
        targets = {element.get("Id"): self._target(main, element) for element in self._relationships(main)}
        with self.open(main) as part:
            ids = [_relationship_id(element) for element in _elements(part) if _local(element) == "sldId"]
        slides = [targets.get(slide_id, "") for slide_id in ids]
        return any(slide not in self or self._is_visible(slide) for slide in slides)

    def _is_visible(self, slide: str) -> bool:
        with self.open(slide) as part:
            root = next(_elements(part, event="start"), None)
            return root is None or root.get("show", "1") not in ("0", "false")

    def has_pages(self, name: str) -> bool:
        """Return whether the content of an ODP contains slides."""
        with self.open(name) as part:
            elements = _elements(part, event="start", must_be_whole=True)
            return any(element.tag == OPENDOCUMENT_PAGE for element in elements)


def _elements(
    part: BinaryIO, event: Literal["start", "end"] = "end", *, must_be_whole: bool = False
) -> Iterator[ElementTree.Element]:
    """Yield the elements of an XML part up to where it is damaged; does not keep their content.

    Raises:
        MediaError: it is damaged and ``must_be_whole``.
    """
    try:
        for _, element in ElementTree.iterparse(_Limited(part), (event,)):  # noqa: S314 - in the sandbox, with a limit
            yield element
            element.clear()
    except ElementTree.ParseError as error:
        if must_be_whole:
            message = f"its list of slides is damaged ({error}); send the complete file."
            raise MediaError("document_unreadable", message) from error


class _Limited:
    """A part that seems to end after ``MAX_PART_BYTES``."""

    def __init__(self, part: BinaryIO) -> None:
        self._part = part
        self._left = MAX_PART_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._part.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(data)
        return data


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _relationship_id(element: ElementTree.Element) -> str | None:
    return next((value for key, value in element.attrib.items() if RELATIONSHIP_ID.search(key)), None)


def _normalized(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").lower()


def check_archive(archive: zipfile.ZipFile, packed_bytes: int) -> None:
    """Refuse an archive that needs a password or would unpack to too much.

    Raises:
        MediaError
    """
    members = archive.infolist()
    if any(member.flag_bits & ENCRYPTED_FLAG for member in members):
        raise MediaError("document_encrypted", "it is protected by a password; remove the password.")
    unpacked = sum(member.file_size for member in members)
    is_bomb = unpacked > SUSPICIOUS_BYTES and unpacked > MAX_COMPRESSION_RATIO * packed_bytes
    if len(members) > MAX_MEMBERS or unpacked > MAX_UNPACKED_BYTES or is_bomb:
        raise MediaError(
            "document_too_large",
            f"it unpacks from {packed_bytes / 2**20:.1f} to {unpacked / 2**20:.0f} MiB in {len(members)} files; the "
            f"limits are {MAX_UNPACKED_BYTES // 2**20} MiB, {MAX_COMPRESSION_RATIO} times the size of a file of more "
            f"than {SUSPICIOUS_BYTES // 2**20} MiB, and {MAX_MEMBERS} files. Send it as PDF.",
        )
