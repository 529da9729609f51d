"""Decodes ``data:`` URLs as browsers do (WHATWG Fetch, "data: URL processor", with forgiving base64).

More than browsers, it accepts the URL-safe alphabet of base64, which several client libraries use.
"""

import base64
import re
from urllib.parse import unquote_to_bytes

from api.schemas.checks.media_kind import media_type_of
from jobs.errors import Invalid, Problem

WHITESPACE = b"\t\n\x0c\r "
BASE64_AT_END = re.compile(r";[ ]*base64$", re.IGNORECASE)
STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
MAX_ESCAPES = 100_000
BASE64_ESCAPES = {"%2B": "+", "%2F": "/", "%3D": "="}
"""What programs escape in base64. A large file has a million of them."""
NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def decode_data_url(url: str, pointer: str) -> bytes:
    """Return the bytes of a ``data:`` URL.

    Raises:
        Invalid: at ``pointer``.
    """
    header, comma, payload = url.partition(",")
    if not comma:
        raise _invalid(pointer, "is not a data: URL: the comma before the data is missing")
    header = header.strip()
    if BASE64_AT_END.search(header):
        data = decode_base64(_percent_decode(payload, pointer), pointer)
    else:
        data = _percent_decode(payload, pointer)
        _refuse_undeclared_base64(header, payload, data, pointer)
    if not data:
        raise _invalid(pointer, "is a data: URL without data")
    return data


def decode_base64(text: bytes, pointer: str) -> bytes:
    """Decode base64. Whitespace is ignored and padding may be missing.

    Raises:
        Invalid: at ``pointer``.
    """
    text = text.translate(STANDARD_ALPHABET, WHITESPACE)
    if len(text) % 4 == 0:
        text = text[:-2] + text[-2:].removesuffix(b"=").removesuffix(b"=")
    if found := NOT_BASE64.search(text):
        sign = found[0].decode("latin-1")
        raise _invalid(
            pointer,
            f"is not valid base64: character {found.start() + 1} (without spaces and line breaks) is {sign!r}",
        )
    if len(text) % 4 == 1:
        raise _invalid(pointer, "is not valid base64: its length is impossible; the end of the data may be missing")
    return base64.b64decode(text + b"=" * (-len(text) % 4))


def _percent_decode(payload: str, pointer: str) -> bytes:
    """Decode percent escapes.

    Raises:
        Invalid: there are more than ``MAX_ESCAPES``, each of which takes 80 bytes of memory.
    """
    for escape, character in BASE64_ESCAPES.items():
        payload = payload.replace(escape, character).replace(escape.lower(), character)
    if payload.count("%") > MAX_ESCAPES:
        raise _invalid(pointer, f"has more than {MAX_ESCAPES} percent escapes; encode the data in base64")
    return unquote_to_bytes(payload)


def _refuse_undeclared_base64(header: str, payload: str, data: bytes, pointer: str) -> None:
    """Refuse data that are base64 although the header does not say so: as text they are no file."""
    if ";base64," in payload[:512].lower().replace(" ", ""):
        raise _invalid(pointer, "has a comma before ;base64; remove it from the parameters, or write it as %2C")
    if "base64" in header.lower():
        raise _invalid(pointer, "must have ;base64 directly before the comma")
    start = re.sub(rb"\s", b"", data[:128])[:64].translate(STANDARD_ALPHABET)
    if not NOT_BASE64.search(start) and media_type_of(base64.b64decode(start[: len(start) // 4 * 4])):
        raise _invalid(pointer, "contains base64; write ;base64 directly before the comma")


def _invalid(pointer: str, message: str) -> Invalid:
    return Invalid([Problem(pointer, message)])
