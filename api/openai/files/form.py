"""Reads the form of a new file while it arrives: its parts may come in any order, and the content is passed on."""

from collections.abc import Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request

from api.errors.wording import quoted
from api.middleware.input.json_body import UnsupportedBody
from jobs.errors import Invalid, Problem

FORM_BYTES = 64 * 1024
"""All of a form beside the content of its file."""
MAX_PARTS = 32
MAX_FIELD_BYTES = 1_024
MAX_NAME_CHARACTERS = 255
PIECE_BYTES = 4 * 2**20
"""Content that is collected before a thread writes it."""
CONTENT = "file"

Write = Callable[[bytes], None]


class FileForm:
    """Collects the fields of a form and passes the content of its file on. Raises Invalid: the form is not valid."""

    def __init__(self, boundary: bytes, write: Write) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """None: no file has come yet."""
        self._write = write
        self._content = bytearray()
        self._parts = 0
        self._is_complete = False
        self._name, self._is_file, self._value = "", False, bytearray()
        self._header, self._header_value, self._disposition = b"", b"", b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_header,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    async def read(self, request: Request) -> None:
        """Read the body of a request to its end."""
        try:
            async for chunk in request.stream():
                self._parser.write(chunk)
                if len(self._content) >= PIECE_BYTES:
                    await self._pass_on()
            self._parser.finalize()
        except FormParserError as error:
            raise _malformed() from error
        await self._pass_on()
        if not self._is_complete:
            raise _malformed()

    async def _pass_on(self) -> None:
        piece, self._content = bytes(self._content), bytearray()
        if piece:
            await run_in_threadpool(self._write, piece)

    # ── called by the parser ──

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise Invalid([Problem("", f"has more than {MAX_PARTS} parts")])
        self._value, self._disposition = bytearray(), b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header = self._header_value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = _decode(options.get(b"name", b""))[:MAX_NAME_CHARACTERS]
        self._is_file = b"filename" in options
        if not self._is_file:
            if self._name == CONTENT:
                raise Invalid([Problem("/file", "must be a file with a filename, not a text field")])
            if self._name in self.fields:
                raise Invalid([Problem(f"/{self._name}", "is given more than once; send it once")])
            return
        if self._name != CONTENT:
            raise Invalid([Problem("", f"has a file in the field {quoted(self._name)}; send it in the field file")])
        if self.filename is not None:
            raise Invalid([Problem("/file", "is given more than once; send one file per call")])
        self.filename = _decode(options[b"filename"])
        if not 1 <= len(self.filename) <= MAX_NAME_CHARACTERS:
            raise Invalid([Problem("/file", f"must have a filename of 1 to {MAX_NAME_CHARACTERS} characters")])

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._content += data[start:end]
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise Invalid([Problem(f"/{self._name}", f"has more than {MAX_FIELD_BYTES} bytes")])

    def _end_part(self) -> None:
        if not self._is_file:
            self.fields[self._name] = _decode(bytes(self._value))

    def _end(self) -> None:
        self._is_complete = True


def boundary_of(headers: Headers) -> bytes:
    """Return the boundary of a form. Raises UnsupportedBody: the request has another type or encoding."""
    kind, options = parse_options_header(headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        sent = kind.decode("latin-1")[:80]
        raise UnsupportedBody(f"Content-Type {sent!r} is not supported; send multipart/form-data with a boundary.")
    if (encoding := headers.get("content-encoding", "identity").lower()) != "identity":
        raise UnsupportedBody(f"Content-Encoding {encoding[:40]!r} is not supported; send the body uncompressed.")
    return options[b"boundary"]


def _malformed() -> Invalid:
    return Invalid([Problem("", "is not a valid multipart/form-data body, or it is cut off")])


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")
