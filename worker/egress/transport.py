"""The httpx transport that checks where a request goes and connects only to the addresses that it checked.

A host name is resolved once per request. All of its addresses are checked, and the connection goes to a checked
address, so a name that changes between check and connection (DNS rebinding) has no effect. httpx sends each redirect
through the same transport.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence

import httpx

from runtime.address_policy import is_allowed
from runtime.settings import Network
from worker.egress.errors import ForbiddenUrl, InvalidUrl, Unreachable

MAX_PORT = 65_535
MAX_CONNECTIONS = 256
MAX_ADDRESSES = 16
"""Addresses of one host that are tried. A host with more is not reached any better, and must not cost more."""

ResolveHost = Callable[[str, int], Awaitable[Sequence[str]]]
"""Takes a host name and a port; returns the host's IP addresses as text."""


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """Look up the addresses of a host with the system's resolver."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in infos]


def redact(url: httpx.URL) -> str:
    """Return scheme, host and path of a URL: its query and user name may be secret.

    The host is the ASCII form that goes over the wire: the Unicode form may not exist.
    """
    return f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"


class GuardedTransport(httpx.AsyncBaseTransport):
    """Refuses forbidden targets and tries the addresses of an allowed host in order.

    Args:
        allow: private networks that may be reached.
        resolve: looks up host names.
        verify: as in httpx: the TLS context, or whether certificates are verified.
        connect_timeout_s: limit for connecting, over all addresses of the host.
    """

    def __init__(
        self,
        allow: Sequence[Network],
        resolve: ResolveHost,
        verify: ssl.SSLContext | bool,
        connect_timeout_s: float,
    ) -> None:
        self._allow = tuple(allow)
        self._resolve = resolve
        self._connect_timeout_s = connect_timeout_s
        # No connection is kept alive. The pool identifies it by IP address, which hosts of two tenants may share.
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.scheme not in ("http", "https") or not url.raw_host:
            raise InvalidUrl(f"{redact(url)} is not an http or https URL.")
        if url.port is not None and not 0 < url.port <= MAX_PORT:
            raise InvalidUrl(f"{redact(url)} has the port {url.port}; ports go from 1 to {MAX_PORT}.")
        if url.userinfo:
            raise InvalidUrl(f"{redact(url)} contains a user name or password; remove it from the URL.")
        addresses = await self._checked_addresses(url)
        return await self._connect_in_order(request, addresses[:MAX_ADDRESSES])

    async def _connect_in_order(self, request: httpx.Request, addresses: Sequence[str]) -> httpx.Response:
        """Send the request to the first address that accepts a connection.

        Each address gets an equal share of the time that is left, so one that drops packets leaves time for the next.
        A failed connection has sent nothing of the request, so another address may be tried for any method.
        """
        deadline = time.monotonic() + self._connect_timeout_s
        *others, last = addresses
        for index, address in enumerate(others):
            share_s = max(deadline - time.monotonic(), 0.0) / (len(addresses) - index)
            try:
                return await self._send_to(request, address, connect_timeout_s=share_s)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._send_to(request, last, connect_timeout_s=max(deadline - time.monotonic(), 0.0))

    async def _send_to(self, request: httpx.Request, address: str, *, connect_timeout_s: float) -> httpx.Response:
        url, extensions = request.url, request.extensions
        request.url = url.copy_with(host=address)
        request.extensions = {
            **extensions,
            # httpx has set the Host header from the name; the certificate must be valid for the name as well.
            "sni_hostname": url.raw_host.decode("ascii"),
            "timeout": {**extensions.get("timeout", {}), "connect": connect_timeout_s},
        }
        try:
            return await self._inner.handle_async_request(request)
        finally:
            request.url = url

    async def _checked_addresses(self, url: httpx.URL) -> Sequence[str]:
        """Resolve a URL's host. One forbidden address is enough to refuse the URL."""
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = await self._resolve(url.raw_host.decode("ascii").strip("[]"), port)
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"The host name of {redact(url)} has no address; check its spelling.") from error
        if not found:
            raise Unreachable(f"The host name of {redact(url)} has no address; check its spelling.")
        for address in found:
            if "%" in address or not is_allowed(address, self._allow):
                raise ForbiddenUrl(
                    f"{redact(url)} leads to an address that is not public; use a public URL, or ask the operator to "
                    "add its network to EGRESS_ALLOW."
                )
        return list(dict.fromkeys(found))

    async def aclose(self) -> None:
        await self._inner.aclose()
