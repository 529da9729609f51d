"""Downloads under a ``Content-Encoding``: values that mean nothing are ignored, gzip and deflate are decoded."""

import gzip
import zlib
from collections.abc import Callable

import pytest

from testing.egress import download
from testing.processes.http_server import HttpServer
from worker.egress.errors import BadStatus, TimedOut, TooLarge, Unreachable

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
RAW_DEFLATE = zlib.compress(PICTURE)[2:-4]


def fetch(
    http_server: HttpServer, coding: str, body: bytes, *, max_bytes: int = 100_000, timeout_s: float = 20
) -> bytes:
    url = http_server.answer("/a.png", body=body, content_encoding=coding)
    return download(url, max_bytes=max_bytes, timeout_s=timeout_s)


@pytest.mark.parametrize(
    "coding",
    ["", "identity", "IDENTITY", "aws-chunked", "utf-8", "UTF-8", "binary", "none", "null", "identity, identity", ", ,",
     "application/octet-stream", "aws-chunked, identity", "8bit", "x-unknown"],
)  # fmt: skip
def test_a_value_that_names_no_compression_is_ignored(http_server: HttpServer, coding: str) -> None:
    assert fetch(http_server, coding, PICTURE) == PICTURE


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(PICTURE)),
        ("GZip", gzip.compress(PICTURE)),
        ("x-gzip", gzip.compress(PICTURE)),
        ("aws-chunked,gzip", gzip.compress(PICTURE)),
        ("gzip, aws-chunked", gzip.compress(PICTURE)),
        ("gzip, identity", gzip.compress(PICTURE)),
        ("gzip", gzip.compress(PICTURE[:100]) + gzip.compress(PICTURE[100:])),
        ("gzip", gzip.compress(PICTURE) + b"\0" * 100),
        ("gzip, gzip", gzip.compress(gzip.compress(PICTURE))),
        ("deflate", zlib.compress(PICTURE)),
        ("deflate", RAW_DEFLATE),
        ("deflate, gzip", gzip.compress(zlib.compress(PICTURE))),
        ("gzip, deflate", zlib.compress(gzip.compress(PICTURE))),
        ("gzip, gzip", gzip.compress(PICTURE)),
        ("gzip", PICTURE),
        ("deflate", PICTURE),
        ("gzip", b"x"),
        ("deflate", b"%PDF-1.7"),
        ("gzip", b""),
        ("deflate", b""),
    ],
)
def test_a_compressed_body_is_decoded_and_one_that_is_not_is_kept(
    http_server: HttpServer, coding: str, body: bytes
) -> None:
    assert fetch(http_server, coding, body) == (PICTURE if len(body) > 20 else body)


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br", "gzip, gzip, gzip", "deflate," * 50])
def test_a_coding_that_cannot_be_decoded_is_named(http_server: HttpServer, coding: str) -> None:
    with pytest.raises(BadStatus, match="uncompressed") as error:
        fetch(http_server, coding, gzip.compress(PICTURE))
    assert not error.value.retryable


@pytest.mark.parametrize(
    ("coding", "bomb"),
    [
        ("gzip", lambda: gzip.compress(b"\0" * 10_000_000)),
        ("deflate", lambda: zlib.compress(b"\0" * 10_000_000)),
        ("gzip, gzip", lambda: gzip.compress(gzip.compress(b"\0" * 10_000_000))),
        ("gzip", lambda: gzip.compress(b"\0" * 90_000) * 2),
    ],
)
def test_the_limit_counts_decoded_bytes(http_server: HttpServer, coding: str, bomb: Callable[[], bytes]) -> None:
    with pytest.raises(TooLarge, match="decompressed"):
        fetch(http_server, coding, bomb())


def test_the_limit_counts_what_is_between_two_decoders(http_server: HttpServer) -> None:
    """Ten MB of empty gzip members are nothing in the end, but they cost time."""
    with pytest.raises(TooLarge):
        fetch(http_server, "gzip, gzip", gzip.compress(gzip.compress(b"") * 500_000))


def test_the_time_limit_ends_decoding(http_server: HttpServer) -> None:
    with pytest.raises(TimedOut):
        fetch(http_server, "gzip", gzip.compress(b"\0" * 2**27, 1), max_bytes=2**30, timeout_s=0.05)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_incomplete_or_damaged_body_is_an_error(http_server: HttpServer, coding: str) -> None:
    body = gzip.compress(PICTURE * 10) if coding == "gzip" else zlib.compress(PICTURE * 10)
    damaged = body[:-30] + bytes(byte ^ 255 for byte in body[-30:])
    for wrong in (body[:-9], damaged):
        with pytest.raises(Unreachable, match=f"{coding} body"):
            fetch(http_server, coding, wrong, max_bytes=10**6)
