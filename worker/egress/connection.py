"""One HTTP/1.1 connection for one request, to an address that was checked before."""

import re
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpcore
import httpx

MAX_RECORDED_BYTES = 4_096
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


class ResponseStart:
    """The first bytes of a response, which tell its status even if the rest of it never arrives."""

    def __init__(self) -> None:
        self._received = bytearray()

    def record(self, data: bytes) -> None:
        self._received += data[: MAX_RECORDED_BYTES - len(self._received)]

    @property
    def status(self) -> int | None:
        """The status of the final response; None: its status line has not arrived."""
        start = 0
        while line := STATUS_LINE.match(self._received, start):
            status = int(line[1])
            if status >= 200 or status == 101:
                return status
            # Interim responses, such as 103 Early Hints, come before the final one.
            end = END_OF_HEAD.search(self._received, line.end() - 2)
            if end is None:
                return None
            start = end.end()
        return None


class _RecordedStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, start: ResponseStart) -> None:
        self._stream = stream
        self._start = start

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        self._start.record(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            # httpcore closes the socket after an error, but not when the time limit of the request ends the handshake.
            await self._stream.aclose()
            raise
        return _RecordedStream(stream, self._start)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _RecordingBackend(httpcore.AnyIOBackend):
    """Records what arrives, and closes what it has opened.

    httpcore 1.0.9 loses an open connection when its task is cancelled at certain points.
    """

    def __init__(self, start: ResponseStart) -> None:
        self._start = start
        self._opened: httpcore.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self._opened = await super().connect_tcp(host, port, timeout, local_address, socket_options)
        return _RecordedStream(self._opened, self._start)

    async def aclose(self) -> None:
        """Close the connection. Does nothing if there is none, or if it is closed already."""
        if self._opened is not None:
            await self._opened.aclose()


class _ResponseStream(httpx.AsyncByteStream):
    """The body of a response; closing it closes the connection."""

    def __init__(self, response: httpcore.Response, backend: _RecordingBackend) -> None:
        self._response = response
        self._backend = backend

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._response.aiter_stream():
            yield piece

    async def aclose(self) -> None:
        try:
            await self._response.aclose()
        finally:
            await self._backend.aclose()


async def send_to_address(
    request: httpx.Request, address: str, *, context: ssl.SSLContext | None, connect_timeout_s: float
) -> httpx.Response:
    """Send a request to one address of its host, over a connection of its own.

    No connection is kept alive: it would be known by its IP address, which hosts of two tenants may share.

    Args:
        context: for https.
        connect_timeout_s: for the TCP connection, and again for the TLS handshake.

    Raises:
        httpcore errors; ConnectError and ConnectTimeout mean that nothing of the request was sent.
    """
    url = request.url
    port = url.port or (443 if url.scheme == "https" else 80)
    target = httpcore.URL(scheme=url.raw_scheme, host=address.encode(), port=port, target=url.raw_path)
    extensions = {
        # httpx has set the Host header from the URL; the certificate must be valid for that name as well. The dot at
        # the end of an absolute name is no part of the name in a certificate (RFC 6066, section 3).
        "sni_hostname": url.raw_host.decode("ascii").removesuffix("."),
        "timeout": {"connect": connect_timeout_s},
    }
    start = request.extensions.get("response_start") or ResponseStart()
    backend = _RecordingBackend(start)
    connection = httpcore.AsyncHTTPConnection(target.origin, ssl_context=context, network_backend=backend)
    try:
        response = await connection.handle_async_request(
            httpcore.Request(
                request.method.encode(),
                target,
                headers=request.headers.raw,
                content=request.stream,
                extensions=extensions,
            )
        )
    except BaseException:
        await backend.aclose()
        raise
    return httpx.Response(
        response.status, headers=response.headers, stream=_ResponseStream(response, backend), request=request
    )
