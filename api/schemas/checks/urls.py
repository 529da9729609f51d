"""Checks the form of URLs in request bodies.

``api/intake/url_policy.py`` refuses addresses that may not be reached; the egress client (worker/egress) checks host
names when it connects.
"""

import base64
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from api.schemas.checks.media_kind import media_type_of

MAX_URL_CHARACTERS = 4_096
UPLOAD = "upload:"
UPLOAD_ID = r"upload_[0-9A-Za-z]{1,32}|file-[0-9A-HJKMNP-TV-Z]{26}"

PORT = r"(?::(?:[0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
HOST = r"(?:[^/?#@:\[\]\\\x00-\x20\x7f]+|\[[0-9A-Fa-f:.]+\])"
HTTP_URL = rf"^[hH][tT][tT][pP][sS]?://{HOST}{PORT}(?:[/?#][^\x00-\x20\x7f]*)?$"

START_CHARACTERS = 88
"""Of a long value, enough to recognize what it is."""
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
HEADER_WITHOUT_SCHEME = re.compile(r"[a-z]+/[a-z0-9.+-]+;\s*base64,", re.IGNORECASE)
HOST_WITHOUT_SCHEME = re.compile(
    r"(?://)?[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}(?::[0-9]+)?(?:[/?#]\S*)?", re.IGNORECASE
)
LOCAL_FILE = re.compile(r"file:|[./~]|[a-z]:\\", re.IGNORECASE)
STORE_SCHEME = re.compile(r"(?:s3|gs|az|r2|minio|abfss?|hdfs)://", re.IGNORECASE)


def _check_http_url(url: str) -> str:
    if any(character <= " " or character == "\x7f" for character in url):
        raise ValueError("must not contain spaces or control characters; percent-encode them")
    if "@" in re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]:
        raise ValueError("must not contain a user name or password: it would be stored and logged")
    if not re.match(HTTP_URL, url):
        raise ValueError(_with_hint("must be an absolute http:// or https:// URL", _web_hint(url)))
    if len(url) > MAX_URL_CHARACTERS:
        raise ValueError(f"must not be longer than {MAX_URL_CHARACTERS} characters")
    return url


def _check_media_url(url: str) -> str:
    start = url[: MAX_URL_CHARACTERS + 1].strip()
    if start[:5].lower() == "data:":
        return url.strip()
    if url.startswith(UPLOAD):
        return url
    if hint := _media_hint(start):
        raise ValueError(_with_hint("must be an http:// or https:// URL, a data: URL or upload:<id>", hint))
    try:
        return _check_http_url(url)
    except ValueError as error:
        raise ValueError(str(error).replace("URL", "URL, a data: URL or upload:<id>", 1)) from None


def _check_file_id(file_id: str) -> str:
    if file_id.startswith(UPLOAD):
        raise ValueError(f"must be the id alone, without {UPLOAD}")
    if not re.fullmatch(UPLOAD_ID, file_id):
        raise ValueError(
            "must be the id of an upload, such as upload_01K9ZXV4T8Q2M6R0C5B7N3D1FG, or of a file; see "
            "POST /v1/uploads and POST /v1/files"
        )
    return file_id


def _check_file_data(data: str) -> str:
    start = data[:START_CHARACTERS].strip()
    if re.match(r"https?://", start, re.IGNORECASE):
        raise ValueError("must be base64 or a data: URL; for an http(s) URL use file_url")
    if start.startswith((UPLOAD, "upload_", "file-")):
        raise ValueError("must be base64 or a data: URL; for an upload or a file use file_id")
    return data.strip()


def _media_hint(start: str) -> str:
    """Say what to write instead of a value that is known from other services, given its start; empty if unknown."""
    if re.fullmatch(UPLOAD_ID, start) or start.startswith("upload_"):
        return f"write upload: before the id, {UPLOAD}{start[:40]}"
    if start.startswith("file-"):
        return "this is an id of OpenAI's; send the file with POST /v1/uploads or /v1/files and use upload:<id>"
    if HEADER_WITHOUT_SCHEME.match(start):
        return "write data: before the media type"
    if start.startswith("blob:"):
        return "a blob: URL exists in one browser only; send the file as a data: URL or with POST /v1/uploads"
    if STORE_SCHEME.match(start):
        return "the service has no access to your store; send a presigned URL"
    media_type = _type_of_base64(start)
    if media_type or (len(start) >= START_CHARACTERS and BASE64.fullmatch(start[:START_CHARACTERS])):
        return f"for base64 write data:{media_type or 'image/png'};base64, before it"
    if LOCAL_FILE.match(start) and not start.startswith("//"):
        return "the service cannot read your files; send the file as a data: URL or with POST /v1/uploads"
    return ""


def _web_hint(url: str) -> str:
    return "write https:// before the host" if HOST_WITHOUT_SCHEME.fullmatch(url) else ""


def _type_of_base64(text: str) -> str | None:
    """Return the media type of a file in base64, given its start."""
    start = re.sub(r"\s", "", text[:START_CHARACTERS])
    if not BASE64.fullmatch(start):
        return None
    return media_type_of(base64.urlsafe_b64decode(start.replace("+", "-").replace("/", "_")[: len(start) // 4 * 4]))


def _with_hint(message: str, hint: str) -> str:
    return f"{message}: {hint}" if hint else message


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
FileData = Annotated[str, AfterValidator(_check_file_data), Field(min_length=1)]
"""A file in base64, plain or as a ``data:`` URL."""
FileId = Annotated[str, AfterValidator(_check_file_id), Field(json_schema_extra={"pattern": f"^(?:{UPLOAD_ID})$"})]
"""The id of an upload or of a file."""
