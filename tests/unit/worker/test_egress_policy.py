"""Which IP addresses outgoing requests may reach."""

from testing.egress import LOOPBACK
from worker.egress.policy import is_allowed

NOT_PUBLIC = """
    0.0.0.0 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 168.63.129.16 169.254.169.254 172.31.0.1 192.0.0.8 192.0.0.192
    192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::169.254.169.254
    64:ff9b:1::127.0.0.1 2002:7f00:1:: 2002:a9fe:a9fe::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 3fff::1
    2001:470::5efe:127.0.0.1 2001:470::200:5efe:10.0.0.1 100::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1
    ff02::1
"""
PUBLIC = "8.8.8.8 93.184.216.34 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1"


def test_only_public_addresses_are_allowed() -> None:
    """The result must not depend on the Python version: versions differ on several of these."""
    assert [address for address in NOT_PUBLIC.split() if is_allowed(address, ())] == []
    assert [address for address in PUBLIC.split() if not is_allowed(address, ())] == []


def test_an_allowed_network_is_reached_in_all_its_forms_and_no_other() -> None:
    assert all(is_allowed(address, LOOPBACK) for address in ("127.0.0.1", "::ffff:127.0.0.1"))
    assert not any(is_allowed(address, LOOPBACK) for address in ("10.0.0.1", "::1", "64:ff9b::a00:1"))
