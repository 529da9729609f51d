"""The only way out: an HTTP client that reaches public addresses and nothing else.

EgressError
├── InvalidUrl       not a web URL
├── ForbiddenUrl     leads to an address that is not public
├── Unreachable      no name, no connection, a broken answer
├── TimedOut
├── TooLarge
├── BadStatus        not 2xx
└── TooManyRedirects

A name is resolved once and checked, and the connection goes to the checked address itself, so an answer that changes
between check and use (DNS rebinding) changes nothing. Every redirect passes through the same transport.
Messages show scheme, host and path only: the query of a presigned link is a secret.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from types import TracebackType
from typing import BinaryIO, Self

import httpx

from runtime.settings import Network

MAX_REDIRECTS = 5
MAX_PORT = 65_535
REPLY_PREFIX_BYTES = 512
CONNECT_TIMEOUT_S = 5.0
NAT64 = IPv6Network("64:ff9b::/96")
GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that is given out for the public net of v6; `is_global` of Python takes what no registry names for public."""
ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""What the third quarter of a v6 address says when the fourth is a v4 address."""
NOT_PUBLIC = tuple(
    ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocols' own; a cloud's metadata service is at 192.0.0.192
        "192.88.99.0/24",  # relays of 6to4
        "168.63.129.16/32",  # Azure's host, as its guests see it
        "3fff::/20",  # documentation
    )
)
"""Special networks that `is_global` of some Python takes for public."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a host, as text."""


class EgressError(Exception):
    """The request could not be made."""

    code = "url_failed"
    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidUrl(EgressError):
    code = "url_invalid"


class ForbiddenUrl(EgressError):
    code = "url_forbidden"


class Unreachable(EgressError):
    code = "url_unreachable"
    retryable = True


class TimedOut(EgressError):
    code = "url_timeout"
    retryable = True


class TooLarge(EgressError):
    code = "url_too_large"


class TooManyRedirects(EgressError):
    code = "url_redirects"


class BadStatus(EgressError):
    code = "url_status"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = status >= 500 or status in (408, 425, 429)


@dataclass(frozen=True, slots=True)
class EgressResponse:
    status: int
    headers: Mapping[str, str]
    body_prefix: bytes
    elapsed_ms: int


def embedded_addresses(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """An address, and those that it stands for: a v6 form must not open a door that v4 finds shut."""
    found: list[IPv4Address | IPv6Address] = [address]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            found = [address.ipv4_mapped]
        if address.sixtofour:
            found.append(address.sixtofour)
        if address.teredo:
            found.extend(address.teredo)
        if address in NAT64 or int(address) >> 32 & 0xFFFF_FFFF in ISATAP:
            found.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return found


def is_allowed(address: str, allow: Sequence[Network]) -> bool:
    """Public, or inside a network that the operator named."""
    for found in embedded_addresses(ip_address(address)):
        if any(found.version == network.version and found in network for network in allow):
            continue
        if not _is_public(found):
            return False
    return True


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if any(address.version == network.version and address in network for network in NOT_PUBLIC):
        return False
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST and address not in NAT64:
        return False
    return address.is_global and not address.is_multicast


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in infos]


def shown(url: httpx.URL) -> str:
    """A URL without what may be secret in it. The host as it goes over the wire: another form may not exist."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"


class GuardedTransport(httpx.AsyncBaseTransport):
    """Checks where each request goes, and sends it to the address that was checked."""

    def __init__(self, allow: Sequence[Network], resolve: Resolve, verify: ssl.SSLContext | bool = True) -> None:
        self._allow = tuple(allow)
        self._resolve = resolve
        # No connection is kept: it belongs to an address here, and another host on it may be another tenant.
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.scheme not in ("http", "https") or not url.raw_host:
            raise InvalidUrl(f"{shown(url)} is not an http or https URL.")
        if url.port is not None and not 0 < url.port <= MAX_PORT:
            raise InvalidUrl(f"{shown(url)} names a port that does not exist.")
        if url.userinfo:
            raise InvalidUrl(f"{shown(url)} carries a user name or password; leave it out.")
        address = await self._checked_address(url)
        # The name stays in the Host header, which httpx has set, and in TLS, whose certificate must be the name's.
        request.extensions = {**request.extensions, "sni_hostname": url.raw_host.decode("ascii")}
        request.url = url.copy_with(host=address)
        try:
            return await self._inner.handle_async_request(request)
        finally:
            request.url = url

    async def _checked_address(self, url: httpx.URL) -> str:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            addresses = await self._resolve(url.raw_host.decode("ascii").strip("[]"), port)
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"The host of {shown(url)} has no address.") from error
        if not addresses:
            raise Unreachable(f"The host of {shown(url)} has no address.")
        for address in addresses:
            if "%" in address or not is_allowed(address, self._allow):
                raise ForbiddenUrl(
                    f"{shown(url)} leads to an address that is not public; "
                    "use a public URL, or have the operator name its network in EGRESS_ALLOW."
                )
        return addresses[0]

    async def aclose(self) -> None:
        await self._inner.aclose()


class EgressClient:
    """Use as an async context manager."""

    def __init__(
        self,
        allow: Sequence[Network],
        *,
        resolve: Resolve = resolve_by_system,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._client = httpx.AsyncClient(
            transport=GuardedTransport(allow, resolve, verify),
            trust_env=False,
            max_redirects=MAX_REDIRECTS,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            # Identity: a small body must not unfold into a large one behind the count of its bytes.
            headers={"user-agent": f"thinkqueue/{version('thinkqueue')}", "accept-encoding": "identity"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def fetch(self, url: str, into: BinaryIO, *, max_bytes: int, timeout_s: float) -> None:
        """GET a body of at most ``max_bytes`` into a file, within ``timeout_s`` for everything.

        What a server says that it is (``Content-Type``) is not looked at: what it is, its first bytes tell.

        Raises:
            EgressError
        """
        async with _limited(url, timeout_s):
            request = self._request("GET", url)
            reply = await self._client.send(request, stream=True, follow_redirects=True)
            try:
                if not reply.is_success:
                    raise BadStatus(f"{shown(request.url)} answered {reply.status_code}.", reply.status_code)
                await _read(reply, into, max_bytes)
            finally:
                await reply.aclose()

    async def send(
        self, method: str, url: str, *, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> EgressResponse:
        """POST or PUT; any status is an answer, and redirects are not followed.

        Raises:
            EgressError: there was no answer.
        """
        async with _limited(url, timeout_s):
            started = time.monotonic()
            request = self._request(method, url, content=body, headers=dict(headers))
            reply = await self._client.send(request, stream=True, follow_redirects=False)
            try:
                prefix = await _read_prefix(reply)
            finally:
                await reply.aclose()
            elapsed_ms = round((time.monotonic() - started) * 1000)
        return EgressResponse(reply.status_code, dict(reply.headers), prefix, elapsed_ms)

    def _request(self, method: str, url: str, **more: object) -> httpx.Request:
        self._client.cookies.clear()  # a cookie would tell one tenant's server of another's visit
        try:
            return self._client.build_request(method, url, **more)  # type: ignore[arg-type]
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidUrl("The URL cannot be read.") from error


@asynccontextmanager
async def _limited(url: str, timeout_s: float) -> AsyncIterator[None]:
    """One time limit over everything, and httpx' errors as ours."""
    try:
        place = shown(httpx.URL(url))
    except httpx.InvalidURL:
        place = "The URL"
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise TimedOut(f"{place} did not answer in full within {timeout_s:g} s.") from error
    except httpx.TimeoutException as error:
        raise TimedOut(f"{place} did not accept a connection within {CONNECT_TIMEOUT_S:g} s.") from error
    except httpx.TooManyRedirects as error:
        raise TooManyRedirects(f"{place} redirects more than {MAX_REDIRECTS} times.") from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise InvalidUrl(f"{place} is, or leads to, something that is not http or https.") from error
    except httpx.RequestError as error:
        raise Unreachable(f"{place} cannot be reached: {type(error).__name__}.") from error


async def _read(reply: httpx.Response, into: BinaryIO, max_bytes: int) -> None:
    """A body as it came over the wire. Counted on the way: a declared length may be missing or a lie."""
    if reply.headers.get("content-encoding", "identity") != "identity":
        raise BadStatus(f"{shown(reply.url)} sends a compressed body although it was asked not to.", 415)
    seen = 0
    async for chunk in reply.aiter_raw():
        seen += len(chunk)
        if seen > max_bytes:
            raise TooLarge(f"{shown(reply.url)} has more than {max_bytes} bytes.")
        into.write(chunk)


async def _read_prefix(reply: httpx.Response) -> bytes:
    prefix = b""
    async for chunk in reply.aiter_raw():
        prefix += chunk
        if len(prefix) >= REPLY_PREFIX_BYTES:
            break
    return prefix[:REPLY_PREFIX_BYTES]
