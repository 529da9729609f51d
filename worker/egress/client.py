"""The only client for outgoing HTTP requests to URLs that clients chose. It reaches public addresses only."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from types import TracebackType
from typing import BinaryIO, Self

import httpcore
import httpx

from runtime.networks.network import Network
from runtime.sizes import format_size
from runtime.tls import client_context
from worker.egress.connection import ResponseStart
from worker.egress.content_coding import content_decoders, decode, finish
from worker.egress.cookies import new_cookie_jar
from worker.egress.errors import (
    BadStatus,
    EgressError,
    InvalidUrl,
    TimedOut,
    TooLarge,
    TooManyRedirects,
    Unreachable,
)
from worker.egress.failure_text import failure_text, is_certificate_problem
from worker.egress.resolver import HostResolver, ResolveHost
from worker.egress.transport import GuardedTransport, Target, redact

MAX_REDIRECTS = 5
RESPONSE_PREFIX_BYTES = 512
RESPONSE_PREFIX_TIMEOUT_S = 1.0
"""How long the body of a response to a POST or PUT is awaited: it is shown, and nothing depends on it."""
CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class EgressResponse:
    """The response to a POST or PUT."""

    status: int
    headers: Mapping[str, str]
    """Empty if the connection failed after the status line."""
    body_prefix: bytes
    """At most ``RESPONSE_PREFIX_BYTES``; empty for a host that is not public, whose pages are not for clients."""
    elapsed_ms: int
    """Until the head of the response had arrived."""


class EgressClient:
    """Sends requests to public addresses. Use it as an async context manager, from one event loop.

    Args:
        allow: private networks that may be reached as well (EGRESS_ALLOW).
        resolve: looks up host names.
        tls_context: creates the TLS context, which costs 0.1 s; called once, for the first https URL.
        connect_timeout_s: limit for connecting, over all addresses of a host.
    """

    def __init__(
        self,
        allow: Sequence[Network],
        *,
        resolve: ResolveHost | None = None,
        tls_context: Callable[[], ssl.SSLContext] = client_context,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._transport = GuardedTransport(
            allow, resolve or HostResolver().resolve, cache(tls_context), connect_timeout_s
        )
        self._client = httpx.AsyncClient(
            transport=self._transport,
            trust_env=False,
            timeout=None,  # noqa: S113 - the transport limits connecting, and each method the whole request
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # this client is shared by all requests
        )
        self._headers = {
            "user-agent": f"thinkqueue/{version('thinkqueue')}",
            # A host that compresses anyway is tolerated within the limits of content_coding.py.
            "accept-encoding": "identity",
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def download(self, url: str, file: BinaryIO, *, max_bytes: int, timeout_s: float, owner: str = "") -> None:
        """GET a URL and write the decoded body to a file. Follows up to ``MAX_REDIRECTS`` redirects.

        ``Content-Type`` is ignored: the content decides what a file is.

        Args:
            file: receives the body.
            max_bytes: largest body that is accepted, as it is sent and as it is decoded.
            timeout_s: limit for the whole request, redirects included.
            owner: the tenant whose share of name lookups is used.

        Raises:
            EgressError
        """
        async with self._limited(url, timeout_s):
            response = await self._get(self._request("GET", url, extensions={"owner": owner}))
            try:
                if not response.is_success:
                    message = f"{redact(response.url)} responded with status {response.status_code}."
                    raise BadStatus(message, response.status_code)
                await _copy_body(response, file, max_bytes)
            finally:
                await response.aclose()

    async def check(self, url: str, *, owner: str = "") -> Target:
        """Resolve a URL's host, check its addresses, and return them for ``send``. Raises EgressError."""
        return await self._transport.check(_parse(url), owner=owner)

    async def send(
        self,
        method: str,
        url: str,
        *,
        body: bytes,
        headers: Mapping[str, str],
        timeout_s: float,
        target: Target | None = None,
    ) -> EgressResponse:
        """POST or PUT a body. Returns the response of any status; redirects are not followed.

        A response counts as soon as its status line has arrived: the receiver has acted on the request, whatever
        becomes of the connection afterwards.

        Args:
            target: what ``check`` returned for the URL; None: it is checked here.

        Raises:
            EgressError: there was no response.
        """
        started, start = time.monotonic(), ResponseStart()
        extensions = {"response_start": start, **({"target": target} if target else {})}
        prefix, response_headers = b"", dict[str, str]()
        try:
            async with self._limited(url, timeout_s):
                target = target or await self.check(url)
                request = self._request(
                    method, url, content=body, headers=dict(headers), extensions={**extensions, "target": target}
                )
                response = await self._client.send(request, stream=True, follow_redirects=False)
                elapsed_ms = _milliseconds_since(started)
                response_headers = dict(response.headers)
                try:
                    prefix = await _read_prefix(response) if target.is_public else b""
                finally:
                    await response.aclose()
                status = response.status_code
        except EgressError:
            if start.status is None:
                raise
            status, elapsed_ms = start.status, _milliseconds_since(started)
        return EgressResponse(status, response_headers, prefix, elapsed_ms)

    async def _get(self, request: httpx.Request) -> httpx.Response:
        """Follow redirects with the cookies that they set: httpx would send those of a host to its subdomains."""
        place, cookies = redact(request.url), httpx.Cookies(new_cookie_jar())
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._client.send(request, stream=True, follow_redirects=False)
            if response.next_request is None:
                return response
            await response.aclose()
            cookies.extract_cookies(response)
            request = response.next_request
            cookies.set_cookie_header(request)
        raise TooManyRedirects(f"{place} redirects more than {MAX_REDIRECTS} times.")

    def _request(
        self,
        method: str,
        url: str,
        *,
        extensions: dict[str, object],
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Request:
        try:
            return httpx.Request(
                method,
                _parse(url),
                content=content,
                headers={**self._headers, **(headers or {})},
                extensions=extensions,
            )
        except ValueError as error:
            raise InvalidUrl("The URL is malformed; send an absolute http or https URL.") from error

    @asynccontextmanager
    async def _limited(self, url: str, timeout_s: float) -> AsyncIterator[None]:
        """Limit the whole block to ``timeout_s`` and translate the errors of httpx, httpcore and ssl to ours."""
        place = redact(_parse(url))
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError as error:
            raise TimedOut(f"{place} did not send a complete response within {timeout_s:g} s.") from error
        except (httpx.TimeoutException, httpcore.TimeoutException) as error:
            raise TimedOut(f"{place} did not accept a connection within {self._connect_timeout_s:g} s.") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise InvalidUrl(f"{place} is not, or redirects to a URL that is not, http or https.") from error
        except (httpx.RequestError, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            message = f"{place} cannot be reached: {failure_text(error)}."
            raise Unreachable(message, retryable=not is_certificate_problem(error)) from error


def _parse(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidUrl("The URL is malformed; send an absolute http or https URL.") from error


def _milliseconds_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


async def _copy_body(response: httpx.Response, file: BinaryIO, max_bytes: int) -> None:
    """Write the decoded body. Its bytes are counted as they arrive: a declared length may be missing or wrong."""
    place = redact(response.url)
    decoders = content_decoders(response.headers.get("content-encoding", ""), place=place, max_bytes=max_bytes)
    received = 0
    async for chunk in response.aiter_raw():
        received += len(chunk)
        if received > max_bytes:
            raise TooLarge(f"{place} is larger than the limit of {format_size(max_bytes)}; send a smaller file.")
        for piece in decode(decoders, chunk):
            file.write(piece)
            await asyncio.sleep(0)  # a small body may decode to a large one: the time limit must be able to end it
    for piece in finish(decoders):
        file.write(piece)


async def _read_prefix(response: httpx.Response) -> bytes:
    prefix = b""
    try:
        async with asyncio.timeout(RESPONSE_PREFIX_TIMEOUT_S):
            async for chunk in response.aiter_raw():
                prefix += chunk
                if len(prefix) >= RESPONSE_PREFIX_BYTES:
                    break
    except (TimeoutError, httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError, OSError):
        pass  # what has arrived is enough
    return prefix[:RESPONSE_PREFIX_BYTES]
