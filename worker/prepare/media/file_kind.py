"""Names the kind of a file from its first bytes, for messages that say what was sent instead of a supported format."""

import re

HEAD_BYTES = 4_096
"""How much of a file ``describe_file`` needs."""

SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"II\xbc", "a JPEG XR image"),
    (0, b"8BPS", "a Photoshop file (PSD)"),
    (0, b"gimp xcf", "a GIMP file (XCF)"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript file (EPS)"),
    (0, b"\x00\x00\x01\x00", "a Windows icon (ICO)"),
    (0, b"\x00\x00\x02\x00", "a Windows cursor (CUR)"),
    (0, b"icns", "a macOS icon (ICNS)"),
    (0, b"FUJIFILMCCD-RAW", "a camera raw file (RAF)"),
    (0, b"IIRO", "a camera raw file (ORF)"),
    (0, b"IIRS", "a camera raw file (ORF)"),
    (0, b"MMOR", "a camera raw file (ORF)"),
    (0, b"IIU\x00", "a camera raw file (RW2)"),
    (0, b"FOVb", "a camera raw file (X3F)"),
    (0, b"DDS ", "a DirectDraw texture (DDS)"),
    (0, b"\xabKTX", "a Khronos texture (KTX)"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"qoif", "a QOI image"),
    (0, b"FLIF", "a FLIF image"),
    (0, b"BPG\xfb", "a BPG image"),
    (0, b"SIMPLE  =", "a FITS image"),
    (128, b"DICM", "a DICOM image"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)"),
    (40, b" EMF", "a Windows metafile (EMF)"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (0, b"FLV\x01", "a Flash video (FLV)"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file (WMV or ASF)"),
    (0, b"\x00\x00\x01\xba", "an MPEG video"),
    (0, b"\x00\x00\x01\xb3", "an MPEG video"),
    (0, b"OggS", "an Ogg file"),
    (0, b"ID3", "an MP3 file"),
    (0, b"\xff\xfb", "an MP3 file"),
    (0, b"fLaC", "a FLAC file"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"PK\x03\x04", "a ZIP archive or an Office document"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document of before 2007"),
    (0, b"{\\rtf", "a Rich Text document (RTF)"),
    (0, b"version https://git-lfs.github.com/spec", "a Git LFS pointer, not the file itself"),
    (0, b"#EXTM3U", "a playlist (M3U8)"),
    (0, b"ffconcat", "a playlist (ffconcat)"),
)
"""Offset, bytes, name."""
BRANDS = {
    b"heic": "a HEIC image",
    b"heix": "a HEIC image",
    b"mif1": "a HEIF image",
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
    b"crx ": "a camera raw file (CR3)",
    b"jp2 ": "a JPEG 2000 image",
    b"qt  ": "a QuickTime video",
    b"M4A ": "an MPEG-4 audio file",
    b"M4B ": "an MPEG-4 audio file",
}
"""Of ISO media files; all other brands are videos."""
RIFF_TYPES = {b"WEBP": "a WebP image", b"AVI ": "an AVI video", b"WAVE": "a WAV audio file"}
TIFF_BYTE_ORDERS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
TGA_STARTS = (b"\x00\x00\x02\x00\x00\x00", b"\x00\x00\x0a\x00\x00\x00")
"""TGA has no signature. An icon or a cursor without pictures would begin so."""
NETPBM = re.compile(rb"P[1-7Ff][\s#]")
MARKUP = re.compile(rb"^(?:\xef\xbb\xbf)?\s*<(?:[?!/]|[a-zA-Z])")
PRINTABLE = re.compile(rb"^[\t\n\r\x20-\x7e\x80-\xff]*$")


def describe_file(head: bytes) -> str | None:
    """Return the kind of a file with its article, as in ``a PDF document``. None: it is not known.

    Args:
        head: its first ``HEAD_BYTES`` bytes.
    """
    if head.startswith(TGA_STARTS):
        return "a TGA image"
    for offset, signature, name in SIGNATURES:
        if head.startswith(signature, offset):
            return name
    return _describe_container(head) or _describe_text(head)


def _describe_container(head: bytes) -> str | None:
    """Name a file whose kind follows from more than its first bytes."""
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], "an MPEG-4 video")
    if head[4:8] in (b"moov", b"mdat", b"wide"):
        return "a QuickTime video"
    if head.startswith(b"RIFF") and head[8:12] in RIFF_TYPES:
        return RIFF_TYPES[head[8:12]]
    if head.startswith(TIFF_BYTE_ORDERS):
        return "a camera raw file (CR2)" if head[8:10] == b"CR" else "a TIFF image"
    if head[0:1] == head[188:189] == head[376:377] == b"\x47":
        return "an MPEG transport stream"
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return "a BMP image"
    if NETPBM.match(head):
        return "a Netpbm image (PBM, PGM, PPM or PFM)"
    return None


def _describe_text(head: bytes) -> str | None:
    if MARKUP.match(head):
        lowered = head.lower()
        if b"<svg" in lowered:
            return "an SVG drawing"
        if b"<html" in lowered or b"<!doctype html" in lowered:
            return "a web page (HTML); its URL may need a login"
        if b"<error>" in lowered:
            return "an error message of a file server (XML)"
        return "an XML file"
    if head.lstrip().startswith((b"{", b"[")) and PRINTABLE.match(head):
        return "a JSON file"
    return "a text file" if PRINTABLE.match(head) and head.isascii() else None
