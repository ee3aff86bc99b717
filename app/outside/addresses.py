"""Which IP addresses are the public internet, and which are somebody's inside."""

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Credentials are handed out here to whoever asks from the right machine: no setting opens these.
NEVER: tuple[Network, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            "169.254.0.0/16",  # link-local: the metadata of EC2, GCE, Azure, ECS and others
            "100.100.100.200/32",  # Alibaba's metadata
            "168.63.129.16/32",  # Azure's host
            "192.0.0.192/32",  # Oracle's metadata
            "fd00:ec2::/32",  # EC2's metadata
            "fe80::/10",
        ),
    )
)
# Unicast addresses given out to somebody; all else in IPv6 is local, special or not given out:
# loopback, unique local, multicast, and the forms that carry an IPv4 address (mapped, NAT64).
GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")
# Of these Python says that they are global.
NOT_GLOBAL: tuple[Network, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.88.99.0/24",  # relays of 6to4
            "2001::/32",  # Teredo and 6to4 carry an IPv4 address, which may be any
            "2002::/16",
            "3fff::/20",  # documentation
        ),
    )
)


def forbidden(address: Address, allowed: Sequence[Network] = ()) -> str | None:
    """Why nothing is read from there; None where it may be.

    `allowed` are inner networks that the service's owner has opened.
    """
    if _within(address, NEVER):
        return "is where clouds keep their machines' credentials, or link-local"
    if _within(address, allowed):
        return None
    if address.is_loopback or address.is_unspecified:
        return "is this machine itself"
    if isinstance(address, ipaddress.IPv6Address) and address not in GLOBAL_IPV6:
        return "is not a public address"
    if not address.is_global or address.is_multicast or address.is_reserved:
        return "is not a public address"
    if _within(address, NOT_GLOBAL):
        return "is not a public address"
    return None


def literal(host: str) -> Address | None:
    """The address that a host is, where it is not a name."""
    if host == "localhost" or host.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
