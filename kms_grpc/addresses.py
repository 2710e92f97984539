"""Addresses that a server listens on and a client connects to: HOST:PORT or unix:/path."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from kms_grpc.misfits import ConfigurationError

ONLY_LOOPBACK = "only loopback (127.0.0.1, [::1]) or unix:/path can be served"

NAME_LENGTH: Final = 64
"""Most characters of a peer's name that is no IP address."""


def ip_of(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Returns the IP address of HOST:PORT, where HOST may be in brackets. None for a host name or unix:/path."""
    try:
        return ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None


def unmapped(address: str) -> str:
    """Returns the address of a peer. An IPv4 peer of a socket that takes both kinds is `::ffff:192.0.2.1` there, and
    `192.0.2.1` everywhere else."""
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped if address.startswith("::") else None
    except ValueError:
        return address
    return address if mapped is None else str(mapped)


def is_local(address: str) -> bool:
    """Returns whether data sent to the address stays on this machine: unix:/path, localhost and loopback addresses."""
    if address.startswith("unix:") or address.rpartition(":")[0] == "localhost":
        return True
    ip = ip_of(address)
    return ip is not None and ip.is_loopback


def check_listen(address: str, name: str = "listen") -> bool:
    """Returns whether the address is local: loopback or a Unix socket. Raises ConfigurationError if it is malformed."""
    if address.startswith("unix:"):
        if address == "unix:":
            raise ConfigurationError(f"{name}: a path must follow unix:")
        return True
    host, _, port = address.rpartition(":")
    if not (host and "/" not in host and port.isdigit() and int(port) < 65536):
        raise ConfigurationError(f"{name} {address!r}: must be HOST:PORT or unix:/path")
    return is_local(address)


def plain_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Returns the address of a peer without its zone, and as IPv4 where a socket of both families has an IPv4 peer.
    Raises ValueError if `host` is no IP address."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


@lru_cache(1024)
def network(peer: str) -> str:
    """Returns the name under which what a peer may take is counted: `192.0.2.1`, or `2001:db8::/64` for IPv6, of which
    one machine may have all addresses. Other names, such as a Unix socket's, are cut to 64 characters."""
    try:
        address = plain_ip(peer)
    except ValueError:
        return peer[:NAME_LENGTH]
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


def networks_of(metrics_networks: Sequence[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Returns the networks of the setting `metrics_networks`. Raises ConfigurationError for one that is no network."""
    found = []
    for text in metrics_networks:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ConfigurationError(f"metrics_networks: {error}") from None
    return found
