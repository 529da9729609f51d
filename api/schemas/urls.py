"""Checks the form of URLs in request bodies.

The egress client (worker/egress) decides whether an address may be reached, when it connects.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

MAX_URL_CHARACTERS = 4_096
UPLOAD = "upload:"

PORT = r"(?::(?:[0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
HOST = r"(?:[^/?#@:\[\]\\\x00-\x20\x7f]+|\[[0-9A-Fa-f:.]+\])"
HTTP_URL = rf"^[hH][tT][tT][pP][sS]?://{HOST}{PORT}(?:[/?#][^\x00-\x20\x7f]*)?$"


def _check_http_url(url: str) -> str:
    if any(character <= " " or character == "\x7f" for character in url):
        raise ValueError("must not contain spaces or control characters; percent-encode them")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("must not contain a user name or password: it would be stored and logged")
    if not re.match(HTTP_URL, url):
        raise ValueError("must be an absolute http:// or https:// URL")
    if len(url) > MAX_URL_CHARACTERS:
        raise ValueError(f"must not be longer than {MAX_URL_CHARACTERS} characters")
    return url


def _check_media_url(url: str) -> str:
    if url[:5].lower() == "data:" or url.startswith(UPLOAD):
        return url
    try:
        return _check_http_url(url)
    except ValueError as error:
        raise ValueError(str(error).replace("URL", "URL, a data: URL or upload:<id>", 1)) from None


HttpUrl = Annotated[
    str,
    AfterValidator(_check_http_url),
    Field(json_schema_extra={"pattern": HTTP_URL, "maxLength": MAX_URL_CHARACTERS}),
]
MediaUrl = Annotated[
    str,
    AfterValidator(_check_media_url),
    Field(json_schema_extra={"pattern": f"{HTTP_URL}|^[dD][aA][tT][aA]:|^{UPLOAD}"}),
]
"""``http(s)://…``, ``data:image/…;base64,…``, or ``upload:<id>`` (see ``POST /v1/uploads``)."""
