"""The address of a peer has one spelling, at both doors."""

from __future__ import annotations

import pytest

from kms_grpc.addresses import network, unmapped
from kms_grpc.endpoints import grpc_metadata


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:50162", "192.0.2.1"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:50162", "192.0.2.1"),  # an IPv4 caller of [::]
        ("ipv6:%5B::1%5D:50162", "::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:50162", "fe80::1%eth0"),
        ("unix:", "unix:"),
        ("unix:/run/kms.sock", "unix:/run/kms.sock"),
    ],
)
def test_the_peer_of_a_grpc_call(peer: str, address: str) -> None:
    assert grpc_metadata.address(peer) == address


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),  # as asyncio has it; ipaddress finds it in no IPv4 network
        ("::ffff:c000:201", "192.0.2.1"),
        ("::1", "::1"),
        ("::", "::"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("unix:", "unix:"),
        ("::nonsense", "::nonsense"),
    ],
)
def test_an_ipv4_address_in_ipv6s_notation_is_an_ipv4_address(host: str, address: str) -> None:
    assert unmapped(host) == address


@pytest.mark.parametrize("host", ["192.0.2.1", "::ffff:192.0.2.1"])
def test_bounds_count_both_spellings_as_one(host: str) -> None:
    assert network(unmapped(host)) == network(host) == "192.0.2.1"
