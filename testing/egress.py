"""One-line requests through the egress client, for tests."""

import asyncio
import io
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

from runtime.networks.network import Network
from worker.egress.client import EgressClient, EgressResponse
from worker.egress.resolver import ResolveHost
from worker.egress.transport import Target

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"),)


def resolve_to(*addresses: str) -> ResolveHost:
    """Return a resolver that gives every host these addresses."""

    async def resolve(_host: str, _port: int, _owner: str) -> Sequence[str]:
        return addresses

    return resolve


def download(
    *urls: str, allow: Sequence[Network] = LOOPBACK, max_bytes: int = 1_000, timeout_s: float = 5, **options: Any
) -> bytes:
    """Download URLs with one client; return the body of the last one. ``options`` go to the client."""

    async def run() -> bytes:
        async with EgressClient(allow, **options) as egress:
            for url in urls:
                file = io.BytesIO()
                await egress.download(url, file, max_bytes=max_bytes, timeout_s=timeout_s)
            return file.getvalue()

    return asyncio.run(run())


def post(
    url: str,
    *,
    allow: Sequence[Network] = LOOPBACK,
    body: bytes = b"{}",
    timeout_s: float = 5,
    target: Target | None = None,
    **options: Any,
) -> EgressResponse:
    """POST a small body as a webhook would be sent. ``options`` go to the client."""

    async def run() -> EgressResponse:
        async with EgressClient(allow, **options) as egress:
            return await egress.send(
                "POST", url, body=body, headers={"webhook-id": "evt_1"}, timeout_s=timeout_s, target=target
            )

    return asyncio.run(run())
