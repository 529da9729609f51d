"""The only client for outgoing HTTP requests to URLs that clients chose. It reaches public addresses only."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from types import TracebackType
from typing import BinaryIO, Self

import httpx

from runtime.settings import Network
from runtime.sizes import format_size
from worker.egress.errors import BadStatus, InvalidUrl, TimedOut, TooLarge, TooManyRedirects, Unreachable
from worker.egress.transport import GuardedTransport, ResolveHost, redact, resolve_host

MAX_REDIRECTS = 5
RESPONSE_PREFIX_BYTES = 512
CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class EgressResponse:
    """The response to a POST or PUT."""

    status: int
    headers: Mapping[str, str]
    body_prefix: bytes
    """At most ``RESPONSE_PREFIX_BYTES``."""
    elapsed_ms: int


class EgressClient:
    """Sends requests to public addresses. Use it as an async context manager.

    Args:
        allow: private networks that may be reached as well (EGRESS_ALLOW).
        resolve: looks up host names.
        verify: as in httpx: the TLS context, or whether certificates are verified.
        connect_timeout_s: limit for connecting, over all addresses of a host.
    """

    def __init__(
        self,
        allow: Sequence[Network],
        *,
        resolve: ResolveHost = resolve_host,
        verify: ssl.SSLContext | bool = True,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._client = httpx.AsyncClient(
            transport=GuardedTransport(allow, resolve, verify, connect_timeout_s),
            trust_env=False,
            max_redirects=MAX_REDIRECTS,
            timeout=None,  # noqa: S113 - the transport limits connecting, and each method the whole request
            headers={
                "user-agent": f"thinkqueue/{version('thinkqueue')}",
                # A small compressed body must not become a large one after its bytes were counted.
                "accept-encoding": "identity",
            },
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def download(self, url: str, file: BinaryIO, *, max_bytes: int, timeout_s: float) -> None:
        """GET a URL and write the body to a file. Follows up to ``MAX_REDIRECTS`` redirects.

        ``Content-Type`` is ignored: the content decides what a file is.

        Args:
            file: receives the body.
            max_bytes: largest body that is accepted.
            timeout_s: limit for the whole request, redirects included.

        Raises:
            EgressError
        """
        async with self._limited(url, timeout_s):
            request = self._request("GET", url)
            response = await self._client.send(request, stream=True, follow_redirects=True)
            try:
                if not response.is_success:
                    message = f"{redact(request.url)} responded with status {response.status_code}."
                    raise BadStatus(message, response.status_code)
                await _copy_body(response, file, max_bytes)
            finally:
                await response.aclose()

    async def send(
        self, method: str, url: str, *, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> EgressResponse:
        """POST or PUT a body. Returns the response of any status; redirects are not followed.

        Raises:
            EgressError: there was no response.
        """
        async with self._limited(url, timeout_s):
            started = time.monotonic()
            request = self._request(method, url, content=body, headers=dict(headers))
            response = await self._client.send(request, stream=True, follow_redirects=False)
            try:
                prefix = await _read_prefix(response)
            finally:
                await response.aclose()
            elapsed_ms = round((time.monotonic() - started) * 1000)
        return EgressResponse(response.status_code, dict(response.headers), prefix, elapsed_ms)

    def _request(self, method: str, url: str, **more: object) -> httpx.Request:
        self._client.cookies.clear()  # a cookie would let one tenant's server recognize another tenant's request
        try:
            return self._client.build_request(method, url, **more)  # type: ignore[arg-type]
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidUrl("The URL is malformed; send an absolute http or https URL.") from error

    @asynccontextmanager
    async def _limited(self, url: str, timeout_s: float) -> AsyncIterator[None]:
        """Limit the whole block to ``timeout_s`` and translate httpx errors to ours."""
        try:
            place = redact(httpx.URL(url))
        except httpx.InvalidURL:
            place = "The URL"
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError as error:
            raise TimedOut(f"{place} did not send a complete response within {timeout_s:g} s.") from error
        except httpx.TimeoutException as error:
            raise TimedOut(f"{place} did not accept a connection within {self._connect_timeout_s:g} s.") from error
        except httpx.TooManyRedirects as error:
            raise TooManyRedirects(f"{place} redirects more than {MAX_REDIRECTS} times.") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise InvalidUrl(f"{place} is not, or redirects to a URL that is not, http or https.") from error
        except httpx.RequestError as error:
            raise Unreachable(f"{place} cannot be reached: {type(error).__name__}.") from error


async def _copy_body(response: httpx.Response, file: BinaryIO, max_bytes: int) -> None:
    """Write the body as it comes over the wire. Its bytes are counted: a declared length may be missing or wrong."""
    if response.headers.get("content-encoding", "identity") != "identity":
        message = (
            f"{redact(response.url)} sends a compressed body although the request accepts only an uncompressed one."
        )
        raise BadStatus(message, 415)
    received = 0
    async for chunk in response.aiter_raw():
        received += len(chunk)
        if received > max_bytes:
            raise TooLarge(
                f"{redact(response.url)} is larger than the limit of {format_size(max_bytes)}; send a smaller file."
            )
        file.write(chunk)


async def _read_prefix(response: httpx.Response) -> bytes:
    prefix = b""
    async for chunk in response.aiter_raw():
        prefix += chunk
        if len(prefix) >= RESPONSE_PREFIX_BYTES:
            break
    return prefix[:RESPONSE_PREFIX_BYTES]
