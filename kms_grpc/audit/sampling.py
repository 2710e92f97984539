"""Decides which refusals of unknown callers are written to the audit log. All are counted.

Anybody who reaches a port can be refused thousands of times a second, and must not fill the disk by it. A peer's first
BURST refusals are written, then PER_SECOND a second; the next record that is written says how many were not. A peer is
an IPv4 address or an IPv6 network of 64 bits, of which one host may have all addresses.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kms_grpc.addresses import network

BURST: Final = 60
PER_SECOND: Final = 1
PEERS: Final = 1024
"""Number of peers that have an allowance each. Further peers share one until an old peer can be forgotten."""


@dataclass(slots=True)
class _Allowance:
    seen: float
    left: float
    skipped: int = 0


class RefusalSampling:
    """The allowances of all peers of one worker. Thread-safe. `clock` gives seconds. A peer may have `burst` refusals,
    and `per_second` more each second."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, burst: float = BURST, per_second: float = PER_SECOND
    ) -> None:
        self._clock = clock
        self._burst, self._per_second = burst, per_second
        self._lock = threading.Lock()
        self._peers: OrderedDict[str, _Allowance] = OrderedDict()
        self._others = _Allowance(clock(), burst)
        self._of_forgotten = 0
        self.not_written = 0
        """Refusals that were not written since the start."""

    def take(self, peer: str) -> int | None:
        """Returns None if a refusal of this peer is not to be written; otherwise the number of refusals that were not
        written since the last record that told one."""
        with self._lock:
            now = self._clock()
            allowance = self._allowance(network(peer), now)
            allowance.left = min(self._burst, allowance.left + (now - allowance.seen) * self._per_second)
            allowance.seen = now
            if allowance.left < 1:
                allowance.skipped += 1
                self.not_written += 1
                return None
            allowance.left -= 1
            skipped = allowance.skipped + self._of_forgotten
            allowance.skipped = self._of_forgotten = 0
            return skipped

    def _allowance(self, peer: str, now: float) -> _Allowance:
        known = self._peers.get(peer)
        if known is not None:
            self._peers.move_to_end(peer)
            return known
        if len(self._peers) >= PEERS and not self._forget(now):
            return self._others
        return self._peers.setdefault(peer, _Allowance(now, self._burst))

    def _forget(self, now: float) -> bool:
        """Forget the peer that was refused longest ago, if its allowance is whole again."""
        name, oldest = next(iter(self._peers.items()))
        if now - oldest.seen < self._burst / self._per_second:
            return False
        del self._peers[name]
        self._of_forgotten += oldest.skipped
        return True
