"""Recognizes what a file is by its first bytes, to tell a client that a file is in a part of the wrong type."""

from typing import Literal

MediaKind = Literal["image", "document", "video"]

PREFIX_BYTES = 64
"""As many bytes of a file as are needed."""
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"\xd0\xcf\x11\xe0", "application/vnd.ms-powerpoint"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)
RIFF_TYPES = {b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
IMAGE_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"}
NAMES = {
    "application/pdf": "a PDF",
    "application/zip": "a ZIP file, such as a presentation",
    "application/vnd.ms-powerpoint": "an Office file",
    "image/svg+xml": "an SVG",
}
PART_OF_KIND: dict[MediaKind, str] = {
    "image": '{"type": "image_url", "image_url": {"url": "…"}}',
    "document": '{"type": "file", "file": {"file_data": "…"}}',
    "video": '{"type": "video_url", "video_url": {"url": "…"}}',
}


def media_type_of(data: bytes) -> str | None:
    """Return the media type of a file, given its first ``PREFIX_BYTES``; None if it is not recognized."""
    if data[:4] == b"RIFF":
        return RIFF_TYPES.get(data[8:12])
    if data[4:8] == b"ftyp":
        return "image/heic" if data[8:12] in IMAGE_BRANDS else "video/mp4"
    if data.lstrip()[:4].lower() == b"<svg" or (data.lstrip()[:5] == b"<?xml" and b"<svg" in data):
        return "image/svg+xml"
    return next((kind for signature, kind in SIGNATURES if data.startswith(signature)), None)


def wrong_part(data: bytes, kind: MediaKind) -> str:
    """Say what to do with a file in a part of the wrong type; empty if its type is right or not recognized."""
    found = media_type_of(data[:PREFIX_BYTES])
    if found is None or (found, kind) == ("image/gif", "video"):  # an animation may be sent as a video
        return ""
    if found == "image/svg+xml":
        return "is an SVG, which is not supported; send it as PNG"
    group = found.partition("/")[0]
    belongs: MediaKind = "image" if group == "image" else "video" if group == "video" else "document"
    if belongs == kind:
        return ""
    name = NAMES.get(found, f"{'an' if belongs == 'image' else 'a'} {belongs} ({found})")
    return f"is {name}; send it as {PART_OF_KIND[belongs]}"
