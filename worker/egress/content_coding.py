"""Decodes the ``Content-Encoding`` of a download while it is read, within a limit.

Object stores return the header that an object was stored with, and many tools store one that names no compression
(``aws-chunked``, ``utf-8``, an empty value). Such values are ignored, and so is ``gzip`` on a file that is not
compressed: the content decides what a file is.
"""

import zlib
from collections.abc import Iterable, Iterator

from runtime.sizes import format_size
from worker.egress.errors import BadStatus, TooLarge, Unreachable

CHUNK_BYTES = 2**18
MAX_CODINGS = 2
"""Codings of one body that are decoded, for files that were compressed twice."""
DECODED = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
UNSUPPORTED = frozenset(("br", "zstd", "compress", "x-compress", "dcb", "dcz"))
GZIP_MAGIC = b"\x1f\x8b"
START_BYTES = 512
"""Bytes after which a body is recognized; a shorter one is recognized at its end."""
GZIP, ZLIB, RAW = 31, 15, -15
"""``wbits`` of zlib."""


def content_decoders(header: str, *, place: str, max_bytes: int) -> "list[ContentDecoder]":
    """Return the decoders of a body, in the order in which they must be applied.

    Args:
        header: the value of ``Content-Encoding``, which lists codings in the order in which they were applied.
        place: scheme and host, for messages.
        max_bytes: the largest output of each decoder.

    Raises:
        BadStatus: a coding is not supported, or there are too many.
    """
    names = [name for part in header.split(",") if (name := part.strip().lower())]
    if unsupported := next((name for name in names if name in UNSUPPORTED), None):
        raise BadStatus(
            f"{place} sends a file compressed with {unsupported!r}; serve it uncompressed, or with gzip or deflate.",
            415,
        )
    codings = [DECODED[name] for name in names if name in DECODED]
    if len(codings) > MAX_CODINGS:
        raise BadStatus(f"{place} sends a file that is compressed {len(codings)} times; serve it uncompressed.", 415)
    return [ContentDecoder(coding, place, max_bytes) for coding in reversed(codings)]


def decode(decoders: "list[ContentDecoder]", data: bytes) -> Iterable[bytes]:
    """Pass a piece of a body through all decoders, in pieces of at most ``CHUNK_BYTES``."""
    pieces: Iterable[bytes] = (data,)
    for decoder in decoders:
        pieces = decoder.decode_all(pieces)
    return pieces


def finish(decoders: "list[ContentDecoder]") -> Iterator[bytes]:
    """Yield what is left at the end of a body. Raises Unreachable if the compressed data is incomplete."""
    for index, decoder in enumerate(decoders):
        yield from (piece for rest in decoder.finish() for piece in decode(decoders[index + 1 :], rest))


class ContentDecoder:
    """Decodes gzip or deflate, or passes data through that is neither."""

    def __init__(self, coding: str, place: str, max_bytes: int) -> None:
        self._coding = coding
        self._place = place
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._start = b""
        """The first bytes, until they show what the body is."""
        self._is_plain = False
        self._is_ended = False
        self._zlib: zlib._Decompress | None = None

    def decode_all(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield from self.decode(piece)

    def decode(self, data: bytes, *, is_last: bool = False) -> Iterator[bytes]:
        """Yield the decoded pieces of ``data``.

        Raises:
            TooLarge, Unreachable
        """
        if self._zlib is None:
            self._start += data
            if len(self._start) < START_BYTES and not is_last:
                return
            data, self._start = self._start, b""
            self._begin(data)
        for piece in (data,) if self._is_plain else self._decompress(data):
            self._left -= len(piece)
            if self._left < 0:
                raise TooLarge(
                    f"{self._place} sends a file that is larger than the limit of {format_size(self._max_bytes)} "
                    "when it is decompressed; send a smaller file."
                )
            yield piece

    def finish(self) -> Iterator[bytes]:
        if self._zlib is None:
            yield from self.decode(b"", is_last=True)
        if self._zlib is not None and not (self._is_plain or self._is_ended or self._zlib.eof):
            raise Unreachable(f"{self._place} sent an incomplete {self._coding} body.")

    def _begin(self, data: bytes) -> None:
        """Decide by its first bytes how a body is decoded."""
        if self._coding == "gzip":
            self._is_plain = not data.startswith(GZIP_MAGIC)
            self._zlib = zlib.decompressobj(GZIP)
            return
        # "deflate" means zlib's format, but some servers send it without zlib's header.
        self._is_plain = not data
        has_header = len(data) > 1 and data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
        wbits = ZLIB if has_header else RAW
        self._zlib = zlib.decompressobj(wbits)
        try:
            zlib.decompressobj(wbits).decompress(data[:START_BYTES], CHUNK_BYTES)
        except zlib.error:
            self._is_plain = True

    def _decompress(self, data: bytes) -> Iterator[bytes]:
        assert self._zlib is not None
        while not self._is_ended:
            try:
                piece = self._zlib.decompress(data, CHUNK_BYTES)
            except zlib.error as error:
                raise Unreachable(f"{self._place} sent a {self._coding} body that is damaged.") from error
            if piece:
                yield piece
            if not self._zlib.eof:
                data = self._zlib.unconsumed_tail
                if not data and len(piece) < CHUNK_BYTES:
                    return
                continue
            data = self._zlib.unused_data
            if not data:
                return
            # A gzip file may have several members; other data after its end is ignored, as gzip(1) does.
            if self._coding == "gzip" and data.startswith(GZIP_MAGIC[: len(data)]):
                self._zlib = zlib.decompressobj(GZIP)
            else:
                self._is_ended = True
