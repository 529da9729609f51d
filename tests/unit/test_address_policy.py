"""Which IP addresses outgoing requests may reach."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis.strategies import ip_addresses

from runtime.networks.address_policy import is_allowed, literal_addresses
from runtime.networks.network import Network
from runtime.networks.special_networks import SPECIAL_IPV4, SPECIAL_IPV6
from testing.egress import LOOPBACK

NOT_PUBLIC = """
    0.0.0.0 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 168.63.129.16 169.254.169.254 172.31.0.1 192.0.0.8 192.0.0.192
    192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::169.254.169.254
    64:ff9b:1::127.0.0.1 2002:7f00:1:: 2002:a9fe:a9fe::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 3fff::1
    2001:470::5efe:127.0.0.1 2001:470::200:5efe:10.0.0.1 100::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1
    ff02::1 64:ff9b::8.8.8.8 64:ff9b:1::8.8.8.8 2002:808:808::1 2001:0:808:808::1 2001:2::1 2001:20::1 ::8.8.8.8
"""
PUBLIC = "8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.0 2606:4700::1111 2001:4860:4860::8888 ::ffff:8.8.8.8"


def test_only_public_addresses_are_allowed() -> None:
    """The result must not depend on the Python version: versions differ on several of these."""
    assert [address for address in NOT_PUBLIC.split() if is_allowed(address, ())] == []
    assert [address for address in PUBLIC.split() if not is_allowed(address, ())] == []


@pytest.mark.parametrize("network", [*SPECIAL_IPV4, *SPECIAL_IPV6], ids=str)
def test_a_special_network_is_refused_from_its_first_to_its_last_address(network: Network) -> None:
    assert not is_allowed(str(network[0]), ())
    assert not is_allowed(str(network[-1]), ())


@given(ip_addresses())
def test_what_python_calls_special_is_refused(address: IPv4Address | IPv6Address) -> None:
    plain = getattr(address, "ipv4_mapped", None) or address
    assert plain.is_global or not is_allowed(str(address), ())


def test_an_operator_may_allow_nat64_but_not_the_private_addresses_behind_it() -> None:
    nat64 = [IPv6Network("64:ff9b::/96")]
    assert is_allowed("64:ff9b::8.8.8.8", nat64)
    assert not is_allowed("64:ff9b::10.0.0.1", nat64)


def test_an_allowed_network_is_reached_in_all_its_forms_and_no_other() -> None:
    assert all(is_allowed(address, LOOPBACK) for address in ("127.0.0.1", "::ffff:127.0.0.1"))
    assert not any(is_allowed(address, LOOPBACK) for address in ("10.0.0.1", "::1", "64:ff9b::a00:1"))


LOOPBACK_HOSTS = """
    127.0.0.1 127.0.0.1. 127.1 127.0.1 2130706433 0x7f000001 0X7F.1 0177.0.0.1 017700000001 0x7f.0.0.0x1 00000177.0.0.1
    \uff11\uff12\uff17.0.0.1 127\u30020\u30020\u30021 127\uff0e0.0.1 %31%32%37.0.0.1 \u2460\u2461\u2466.0.0.1
    localhost LocalHost localhost. a.localhost ip6-localhost localhost.localdomain
"""
FORBIDDEN_IPV6_HOSTS = "[::1] ::1 [::ffff:127.0.0.1] [::ffff:7f00:1] [fe80::1%25eth0] [fe80::1%eth0] [64:ff9b::7f00:1]"
HOST_NAMES = "example.com 127.0.0.1.nip.io a1 0xg 1.example localhost.example.com"
INVALID_HOSTS = "256.1.1.1 1.2.3.4.5 4294967296 09.1.1.1 a.1 [1::2::3] 1..2"


def test_every_notation_of_loopback_is_recognized() -> None:
    assert [host for host in LOOPBACK_HOSTS.split() if "127.0.0.1" not in literal_addresses(host)] == []


def test_ipv6_notations_of_forbidden_addresses_are_recognized() -> None:
    for host in FORBIDDEN_IPV6_HOSTS.split():
        (address,) = literal_addresses(host)
        assert not is_allowed(address, ()), host


def test_a_host_name_names_no_address() -> None:
    assert [host for host in HOST_NAMES.split() if literal_addresses(host)] == []


@pytest.mark.parametrize("host", INVALID_HOSTS.split())
def test_a_host_that_is_no_valid_address_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r"IPv4 address|IPv6|appear"):
        literal_addresses(host)
