"""The httpx transport that checks where a request goes and connects only to the addresses that it checked.

A host name is resolved once per request. All of its addresses are checked, and the connection goes to a checked
address, so a name that changes between check and connection (DNS rebinding) has no effect. httpx sends each redirect
through the same transport.
"""

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpcore
import httpx

from runtime.networks.address_policy import is_allowed
from runtime.networks.network import Network
from worker.egress.connection import send_to_address
from worker.egress.errors import ForbiddenUrl, InvalidUrl, TimedOut, Unreachable
from worker.egress.failure_text import is_certificate_problem
from worker.egress.resolver import ResolveHost

MAX_PORT = 65_535
MAX_ADDRESSES = 16
"""Addresses of one host that are tried. A host with more is not reached any better, and must not cost more."""


@dataclass(frozen=True, slots=True)
class Target:
    """A host whose addresses were checked."""

    addresses: tuple[str, ...]
    is_public: bool
    """Whether each of them is public, not merely allowed by the operator."""


def redact(url: httpx.URL) -> str:
    """Return scheme and host of a URL: its user name, path and query may be secrets.

    The host is the ASCII form that goes over the wire: the Unicode form may not exist.
    """
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


class GuardedTransport(httpx.AsyncBaseTransport):
    """Refuses forbidden targets and tries the addresses of an allowed host in order.

    Args:
        allow: private networks that may be reached.
        resolve: looks up host names.
        tls_context: creates the TLS context; called for the first https URL.
        connect_timeout_s: limit for connecting, over all addresses of the host.
    """

    def __init__(
        self,
        allow: Sequence[Network],
        resolve: ResolveHost,
        tls_context: Callable[[], ssl.SSLContext],
        connect_timeout_s: float,
    ) -> None:
        self._allow = tuple(allow)
        self._resolve = resolve
        self._tls_context = tls_context
        self._connect_timeout_s = connect_timeout_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        target = request.extensions.get("target")
        if target is None:
            target = await self.check(request.url, owner=request.extensions.get("owner", ""))
        return await self._connect_in_order(request, target.addresses)

    async def check(self, url: httpx.URL, *, owner: str) -> Target:
        """Resolve a URL's host and check its addresses. One forbidden address is enough to refuse the URL.

        Raises:
            InvalidUrl, ForbiddenUrl, Unreachable, TimedOut
        """
        place = redact(url)
        if url.scheme not in ("http", "https") or not url.raw_host:
            raise InvalidUrl(f"{place} is not an http or https URL.")
        if url.port is not None and not 0 < url.port <= MAX_PORT:
            raise InvalidUrl(f"{place} has the port {url.port}; ports go from 1 to {MAX_PORT}.")
        if url.userinfo:
            raise InvalidUrl(f"{place} contains a user name or password; remove it from the URL.")
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = await self._resolve(url.raw_host.decode("ascii").strip("[]"), port, owner)
        except TimeoutError as error:
            raise TimedOut(f"The name server of {place} does not answer.") from error
        except (OSError, UnicodeError, ValueError) as error:
            raise Unreachable(f"The host name of {place} has no address; check its spelling.") from error
        if not found:
            raise Unreachable(f"The host name of {place} has no address; check its spelling.")
        for address in found:
            if "%" in address or not is_allowed(address, self._allow):
                raise ForbiddenUrl(
                    f"{place} leads to an address that is not public; use a public URL, or ask the operator to "
                    "add its network to EGRESS_ALLOW."
                )
        addresses = tuple(dict.fromkeys(found))[:MAX_ADDRESSES]
        return Target(addresses, all(is_allowed(address, ()) for address in addresses))

    async def _connect_in_order(self, request: httpx.Request, addresses: Sequence[str]) -> httpx.Response:
        """Send the request to the first address that accepts a connection.

        Each address gets an equal share of the time that is left, so one that drops packets leaves time for the next.
        A failed connection has sent nothing of the request, so another address may be tried for any method.
        """
        deadline = time.monotonic() + self._connect_timeout_s
        context = self._tls_context() if request.url.scheme == "https" else None
        failure: Exception | None = None
        for index, address in enumerate(addresses):
            share_s = max(deadline - time.monotonic(), 0.0) / (len(addresses) - index)
            try:
                return await send_to_address(request, address, context=context, connect_timeout_s=share_s)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                # A refused certificate says more than the failure of another address.
                if failure is None or not is_certificate_problem(failure):
                    failure = error
        assert failure is not None
        raise failure
