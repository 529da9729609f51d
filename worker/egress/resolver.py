"""Looks up host names in threads of its own, with a limit on time and a share for each tenant.

The system's resolver cannot be interrupted: a name whose name server does not answer holds its thread for up to half a
minute. Such threads count until they end, so that they fill only the share of the tenant that chose the name.
"""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

MAX_LOOKUPS = 64
"""Threads of all owners. An owner without a lookup gets one even beyond this."""
MAX_LOOKUPS_PER_OWNER = 4
LOOKUP_TIMEOUT_S = 5.0

ResolveHost = Callable[[str, int, str], Awaitable[Sequence[str]]]
"""Takes a host name, a port and the owner of the request; returns the host's IP addresses as text."""
Lookup = Callable[[str, int], Sequence[str]]


def system_lookup(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver; blocks. Raises OSError or UnicodeError."""
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class HostResolver:
    """Looks up hosts. Use it from one event loop.

    Args:
        lookup: blocks until it has the addresses of a host.
        timeout_s: the longest that a caller waits, for its share as well as for the answer.
    """

    def __init__(self, *, lookup: Lookup = system_lookup, timeout_s: float = LOOKUP_TIMEOUT_S) -> None:
        self._lookup = lookup
        self._timeout_s = timeout_s
        self._lookups: dict[tuple[str, str, int], asyncio.Future[Sequence[str]]] = {}
        self._per_owner: Counter[str] = Counter()
        self._ended = asyncio.Event()

    async def resolve(self, host: str, port: int, owner: str = "") -> Sequence[str]:
        """Return the addresses of a host.

        Args:
            owner: the tenant whose share of the threads is used.

        Raises:
            OSError: the host has no address. TimeoutError: the lookup takes too long, or the owner's other lookups do.
            UnicodeError: the name is malformed.
        """
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        async with asyncio.timeout(self._timeout_s):
            while True:
                # A second caller waits for the lookup that is in progress: a slow name holds one thread.
                if found := self._lookups.get((owner, host, port)) or self._start(owner, host, port):
                    return await asyncio.shield(found)
                await self._ended.wait()

    def _start(self, owner: str, host: str, port: int) -> "asyncio.Future[Sequence[str]] | None":
        """Start a lookup in a thread; None: the owner's share is in use."""
        running = self._per_owner[owner]
        if running >= MAX_LOOKUPS_PER_OWNER or (running and self._per_owner.total() >= MAX_LOOKUPS):
            return None
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[str]] = loop.create_future()
        # The error of a lookup for which nobody waits any more needs no warning.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._lookups[owner, host, port] = future
        self._per_owner[owner] += 1

        def finish(result: Sequence[str], error: Exception | None) -> None:
            del self._lookups[owner, host, port]
            self._per_owner[owner] -= 1
            self._per_owner += Counter()  # drops owners without a lookup
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
            self._ended.set()
            self._ended = asyncio.Event()

        def run() -> None:
            result, failure = [], None
            try:
                result = list(self._lookup(host, port))
            except Exception as error:  # noqa: BLE001 - raised where the caller waits
                failure = error
            try:
                loop.call_soon_threadsafe(finish, result, failure)
            except RuntimeError:
                return  # the loop has ended

        threading.Thread(target=run, name="lookup", daemon=True).start()
        return future
