"""Bounds on what strangers cost the AWS door, in all and by peer address.

A connection is a stranger's until a call on it was verified. An address has at most `each` connections, all addresses
`total`. When these are in use, a newcomer takes the place of a stranger of the address that has most connections, if
that has more than its own.

The work that strangers cause has a price in tokens: a connection, a refused request and a piece of a large body cost
one each. An address gets PER_SECOND of them, and may save up to SAVED. When it has none, its strangers' connections end
with their next answer, and new ones are closed at once. A verified call gives back the token of its connection, so a
caller who opens one for each call never runs out. IPv6 addresses count by /64, which one machine may have all of.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

PER_SECOND: Final = 100.0
"""A refused call costs the worker 0.1 to 0.3 ms, so an address can take up to 3 % of its time."""
SAVED: Final = 400.0
ADDRESSES: Final = 4_096
"""Addresses without connections whose tokens are remembered."""
HELD_BYTES: Final = 64 * 1024 * 1024
"""Bytes of bodies that have not wholly arrived, in all. A body of up to 16 KiB is not counted."""
HELD_BYTES_EACH: Final = 16 * 1024 * 1024
"""Bytes of such bodies of one address."""
LOCAL: Final = "unix:"
"""The peer of all connections to a Unix socket, which only its owner can open: it has no bounds of its own."""


class Connected(Protocol):
    """A connection, as Peers knows it."""

    is_stranger: bool

    def give_way(self) -> None:
        """Ends now."""


class Peer:
    """One address."""

    __slots__ = ("address", "connections", "held", "_tokens", "_at", "_clock")

    def __init__(self, address: str, clock: Callable[[], float]) -> None:
        self.address = address
        self.connections: dict[Connected, None] = {}
        self.held = 0
        self._clock = clock
        self._tokens, self._at = SAVED, clock()

    def charge(self, tokens: float = 1.0) -> bool:
        """Takes tokens, or gives them back if negative. Returns whether there are any left."""
        now = self._clock()
        self._tokens = min(SAVED, self._tokens + (now - self._at) * PER_SECOND) - tokens
        self._at = now
        if self._tokens < -SAVED:
            self._tokens = -SAVED
        return self._tokens > 0 or self.address == LOCAL


class Peers:
    """The peers of one worker's AWS door."""

    def __init__(self, total: int, each: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._each, self._clock = total, each, clock
        self._peers: dict[str, Peer] = {}
        self._connected: dict[str, Peer] = {}
        self.connections = 0
        self._held = 0

    def admit(self, address: str) -> tuple[Peer | None, str]:
        """Returns the peer of a new connection, whose place is taken with `enter`; or None and the reason."""
        peer = self._peers.get(address) or self._new(address)
        if not peer.charge():
            return None, "an address opens connections or repeats calls that are refused too fast"
        if len(peer.connections) >= self._each and address != LOCAL:
            return None, "an address has limits.http_connections_per_address connections"
        if self.connections >= self._total and not self._make_room(peer):
            return None, "limits.http_connections are in use"
        return peer, ""

    def enter(self, peer: Peer, connection: Connected) -> None:
        peer.connections[connection] = None
        self._connected[peer.address] = peer
        self.connections += 1

    def leave(self, peer: Peer, connection: Connected) -> None:
        if connection in peer.connections:
            del peer.connections[connection]
            self.connections -= 1
            if not peer.connections:
                self._connected.pop(peer.address, None)

    def hold(self, peer: Peer, size: int) -> bool:
        """Counts `size` bytes more that a connection holds; a negative size gives bytes back. Returns whether they are
        within bounds; if not, they are not counted."""
        if size > 0 and (self._held + size > HELD_BYTES or peer.held + size > HELD_BYTES_EACH):
            return False
        self._held += size
        peer.held += size
        return True

    def _new(self, address: str) -> Peer:
        if len(self._peers) >= ADDRESSES:
            self._peers = {each: peer for each, peer in self._peers.items() if peer.connections}
        peer = self._peers[address] = Peer(address, self._clock)
        return peer

    def _make_room(self, newcomer: Peer) -> bool:
        most = max(self._connected.values(), key=lambda each: len(each.connections))
        if len(most.connections) <= len(newcomer.connections) + 1:
            return False
        stranger = next((each for each in most.connections if each.is_stranger), None)
        if stranger is None:
            return False
        stranger.give_way()
        return True
