"""Addresses that a server listens on and a client connects to: HOST:PORT or unix:/path."""

from __future__ import annotations

import ipaddress


def ip_of(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Returns the IP address of HOST:PORT, where HOST may be in brackets. None for a host name or unix:/path."""
    try:
        return ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None


def is_local(address: str) -> bool:
    """Returns whether data sent to the address stays on this machine: unix:/path, localhost and loopback addresses."""
    if address.startswith("unix:") or address.rpartition(":")[0] == "localhost":
        return True
    ip = ip_of(address)
    return ip is not None and ip.is_loopback
