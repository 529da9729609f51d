"""The type of an IP network."""

from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network
