"""Decides which IP addresses outgoing requests may reach: public ones, and networks that the operator allows."""

import re
import socket
import unicodedata
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote

from runtime.networks.network import Network
from runtime.networks.special_networks import GLOBAL_UNICAST, SPECIAL_IPV4, SPECIAL_IPV6

LOCALHOST = {"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback", "loopback"}
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
NAT64 = IPv6Network("64:ff9b::/96")
ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""Third 32-bit word of an ISATAP address. The fourth word is then an IPv4 address."""


def is_allowed(address: str, allow: Sequence[Network]) -> bool:
    """Whether an address, and every address embedded in it, is public or in one of the ``allow`` networks.

    An address with an IPv6 zone is never allowed: it is valid on one machine only. Tunnels and translators (6to4,
    Teredo, NAT64) are not public: an operator whose network translates adds ``64:ff9b::/96`` to ``allow``, and the IPv4
    address in it must still be public.
    """
    if "%" in address:
        return False
    for found in embedded_addresses(ip_address(address)):
        if any(found.version == network.version and found in network for network in allow):
            continue
        if not _is_public(found):
            return False
    return True


def embedded_addresses(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return the addresses that an address may lead to: itself, and the IPv4 addresses that an IPv6 form contains.

    A mapped, 6to4, Teredo, NAT64 or ISATAP address must not reach an IPv4 address that is forbidden in plain form.
    """
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


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in SPECIAL_IPV4)
    return address in GLOBAL_UNICAST and not any(address in network for network in SPECIAL_IPV6)


def literal_addresses(host: str) -> list[str]:
    """Return the addresses that a URL's host names without a lookup; empty for a host name.

    Reads what resolvers and browsers read: IPv4 in one to four decimal, octal or hexadecimal numbers, IPv6 with or
    without brackets, full-width digits, percent-encoded characters, a dot at the end, and ``localhost`` with its
    aliases. An IPv6 zone is kept after a ``%``.

    Raises:
        ValueError: the host ends in a number and is not an IPv4 address, or is a broken IPv6 address.
    """
    name = unicodedata.normalize("NFKC", unquote(host)).replace("\u3002", ".").lower().rstrip(".")
    if name in LOCALHOST or name.endswith(".localhost"):
        return ["127.0.0.1", "::1"]
    if ":" in name or name.startswith("["):
        return [str(ip_address(name.strip("[]")))]
    last = name.rpartition(".")[2]
    if not NUMBER.fullmatch(last):
        return []
    try:
        return [socket.inet_ntoa(socket.inet_aton(name))]
    except OSError:
        raise ValueError(f"{host} is not an IPv4 address") from None
