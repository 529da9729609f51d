"""The IP networks that are not the public internet: the one table behind every rule on outgoing requests.

`runtime/networks/address_policy.py` refuses them, and `tests/unit/test_manifests.py` compares the NetworkPolicy in
`k8s/base/network.yaml` with them. Sources: the IANA registries of special-purpose IPv4 and IPv6 addresses, and the
addresses of cloud hosts. Python's `is_global` is not used, because its answers differ by version.
"""

from ipaddress import IPv4Network, IPv6Network

SPECIAL_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by providers; one cloud serves its metadata at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # the Azure host, as seen from its guests
        "169.254.0.0/16",  # link-local, with the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments; one cloud serves its metadata at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
GLOBAL_UNICAST = IPv6Network("2000::/3")
"""The only IPv6 range that is assigned for the public internet. Outside are loopback, link-local, private and multicast
addresses, the NAT64 prefixes 64:ff9b::/96 and 64:ff9b:1::/48, and the forms ::/96 and ::ffff:0:0/96 of IPv4
addresses."""
SPECIAL_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments: Teredo 2001::/32, benchmarks 2001:2::/48, ORCHID 2001:10::/28 …
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which contains IPv4 addresses
        "3fff::/20",  # documentation
    )
)
"""Special networks within ``GLOBAL_UNICAST``."""
