"""Checks that the shards can be written, before a caller finds that they cannot, keeps their reserves filled, and
records the time.

One region records the time at each round, in turn. A process that starts takes the latest time of all regions, so what
the regions have recorded together lags behind by one round at most, at the cost of one commit for all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from kms_grpc.clock import Clock
from kms_grpc.errors import KMSError
from kms_grpc.registry.shards import Shard

ASK_EVERY_NS: Final = 10 * 10**9
"""Time between two rounds of empty transactions, which reveal a full disk and a lock that is not released."""
WRITE_EVERY: Final = 30
"""One in this many transactions of a region also writes a row, which reveals a disk that fails. Of fewer regions than
this, one writes at each round while the clock is trusted."""

_log = logging.getLogger(__name__)


class Writability:
    """The last try of each region. One round tries all regions, and each time others of them by a write; a region where
    the last try failed is always tried by a write."""

    def __init__(self, shards: Iterable[Shard], clock: Clock) -> None:
        self._shards = list(shards)
        self._clock = clock
        self._passes = 0
        self.due_ns = 0
        """Boot clock time of the next try."""
        self._failing: set[str] = set()

    @property
    def all_writable(self) -> bool:
        return not self._failing

    def try_all(self, trusted_ns: int | None = None) -> None:
        """Try all regions, if it is time to. `trusted_ns` is the wall clock's time, which is recorded; None if the
        clock is not trusted."""
        now_ns = self._clock.boot_ns()
        if now_ns < self.due_ns:
            return
        self.due_ns = now_ns + ASK_EVERY_NS
        every = WRITE_EVERY if trusted_ns is None else min(WRITE_EVERY, len(self._shards))
        for number, shard in enumerate(self._shards):
            in_turn = (number + self._passes) % every == 0
            self._try(shard, in_turn or shard.region in self._failing, trusted_ns or 0)
        self._passes += 1

    def _try(self, shard: Shard, writes: bool, time_ns: int) -> None:
        try:
            with shard.registry.writing() as transaction:
                if writes:
                    transaction.latest_time.rewrite(time_ns)
        except KMSError as error:
            if shard.region not in self._failing:
                _log.error("the registry cannot be written: %s", error)
            self._failing.add(shard.region)
        else:
            if shard.region in self._failing:
                _log.warning("the registry of region %s is written again", shard.region)
            self._failing.discard(shard.region)
