"""Removes the addresses of this machine from lists of networks."""

from collections.abc import Sequence
from ipaddress import ip_network

from runtime.networks.network import Network

LOOPBACK = tuple(ip_network(text) for text in ("127.0.0.0/8", "0.0.0.0/8", "::1/128", "::/128"))
"""Linux connects 0.0.0.0 and :: to itself as well."""


def without_loopback(networks: Sequence[Network]) -> tuple[Network, ...]:
    """Return networks that cover the same addresses except those of this machine."""
    rest = list(networks)
    for excluded in LOOPBACK:
        rest = [part for network in rest for part in _without(network, excluded)]
    return tuple(rest)


def _without(network: Network, excluded: Network) -> list[Network]:
    if network.version != excluded.version or not network.overlaps(excluded):
        return [network]
    if network.prefixlen >= excluded.prefixlen:
        return []
    return list(network.address_exclude(excluded))  # type: ignore[arg-type]
