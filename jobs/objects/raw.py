"""Reads and writes the bytes of objects exactly as they are stored, bounded while they are read.

A client that PUTs to an upload link chooses headers such as ``Content-Encoding``, and the store sends them back with
the object. HTTP clients decode such a body: 2 MB become 2 GiB, and bytes that are not gzip an error of the connection.
"""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import urllib3
from minio import Minio

from jobs.objects.client import ObjectChanged

CHUNK_BYTES = 2**18
START_S = 10.0
SLOWEST_BYTES_PER_S = 2**20
"""A body that takes longer than the sum of both counts as one that does not arrive: the time limit of a connection
applies to each read, so a byte now and then would hold a thread for ever."""


def put_bytes(minio: Minio, bucket: str, key: str, data: bytes, content_type: str) -> None:
    minio.put_object(bucket, key, io.BytesIO(data), len(data), content_type)


def read_bytes(minio: Minio, bucket: str, key: str, *, max_bytes: int, etag: str | None = None) -> bytes:
    """Return the bytes of an object. Raises as ``copy_bytes``."""
    buffer = io.BytesIO()
    copy_bytes(minio, bucket, key, buffer, max_bytes=max_bytes, etag=etag)
    return buffer.getvalue()


def read_range(minio: Minio, bucket: str, key: str, *, offset: int, length: int) -> bytes:
    """Return a part of an object: fewer bytes than ``length`` at its end. Raises S3Error, urllib3's HTTPError."""
    reply = minio.get_object(bucket, key, offset=offset, length=length)
    is_complete = False
    try:
        data = reply.read(length + 1, decode_content=False)
        is_complete = True
    finally:
        if not is_complete:
            reply.close()
        reply.release_conn()
    if len(data) > length:
        raise ObjectChanged(f"{key}: the store sent more than the {length} bytes that were asked for")
    return data


def copy_bytes(
    minio: Minio,
    bucket: str,
    key: str,
    file: BinaryIO,
    *,
    max_bytes: int,
    exact_bytes: int | None = None,
    etag: str | None = None,
) -> None:
    """Write the bytes of an object to a file, in chunks.

    Args:
        max_bytes: reading ends as soon as the object turns out to be larger.
        exact_bytes: the size that was recorded, if it was.
        etag: the ETag that was recorded, if it was.

    Raises:
        ObjectChanged: the object has another size or ETag, or is larger than ``max_bytes``.
        S3Error, urllib3.exceptions.HTTPError: also when the connection ends before the object does.
    """
    limit = max_bytes if exact_bytes is None else min(max_bytes, exact_bytes)
    with _opened(minio, bucket, key, etag) as reply:
        announced = reply.headers.get("content-length", "")
        if announced.isdecimal():
            if int(announced) > limit or exact_bytes not in (None, int(announced)):
                raise ObjectChanged(f"{key} has {announced} bytes; at most {limit} were expected")
            limit = int(announced)
        size, give_up_at = 0, time.monotonic() + START_S + limit / SLOWEST_BYTES_PER_S
        while chunk := reply.read1(CHUNK_BYTES, decode_content=False):
            size += len(chunk)
            if size > limit:
                raise ObjectChanged(f"{key} has more than {limit} bytes")
            file.write(chunk)
            if time.monotonic() > give_up_at:
                raise urllib3.exceptions.HTTPError(f"{key} arrives too slowly")
        if exact_bytes not in (None, size):
            raise ObjectChanged(f"{key} has {size} bytes; {exact_bytes} were expected")


@contextmanager
def _opened(minio: Minio, bucket: str, key: str, etag: str | None) -> Iterator[urllib3.BaseHTTPResponse]:
    headers: dict[str, str | list[str] | tuple[str]] = {"If-Match": f'"{etag}"'} if etag else {}
    reply = minio.get_object(bucket, key, request_headers=headers)
    is_complete = False
    try:
        yield reply
        is_complete = True
    finally:
        if not is_complete:
            reply.close()  # what was not read must not be read by the next request on this connection
        reply.release_conn()
