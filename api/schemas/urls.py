"""URLs in bodies: their form. Whether an address may be reached is decided where it is reached
(worker/egress/policy.py).
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

MAX_URL = 4_096
UPLOAD = "upload:"

PORT = r"(?::(?:[0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
HOST = r"(?:[^/?#@:\[\]\\\x00-\x20\x7f]+|\[[0-9A-Fa-f:.]+\])"
WEB = rf"^[hH][tT][tT][pP][sS]?://{HOST}{PORT}(?:[/?#][^\x00-\x20\x7f]*)?$"


def _web(url: str) -> str:
    if any(character <= " " or character == "\x7f" for character in url):
        raise ValueError("must not contain spaces or control characters; percent-encode them")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("must not carry a user name or password: it would be stored and logged")
    if not re.match(WEB, url):
        raise ValueError("must be an absolute http:// or https:// URL")
    if len(url) > MAX_URL:
        raise ValueError(f"must not be longer than {MAX_URL} characters")
    return url


def _media(url: str) -> str:
    if url[:5].lower() == "data:" or url.startswith(UPLOAD):
        return url
    try:
        return _web(url)
    except ValueError as error:
        raise ValueError(str(error).replace("URL", "URL, a data: URL or upload:<id>", 1)) from None


WebUrl = Annotated[str, AfterValidator(_web), Field(json_schema_extra={"pattern": WEB, "maxLength": MAX_URL})]
MediaUrl = Annotated[
    str, AfterValidator(_media), Field(json_schema_extra={"pattern": f"{WEB}|^[dD][aA][tT][aA]:|^{UPLOAD}"})
]
"""``http(s)://…``, ``data:image/…;base64,…``, or ``upload:<id>`` (see ``POST /v1/uploads``)."""
