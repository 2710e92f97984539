"""Checks that the shards can be written, before a caller finds that they cannot, and keeps their reserves filled."""

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
"""One in this many transactions of a region also writes a row, which reveals a disk that fails."""

_log = logging.getLogger(__name__)


class Writability:
    """The last try of each region. One pass tries all regions, and each time another thirtieth of them by a write; a
    region where the last try failed is always tried by a write."""

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

    def try_all(self) -> None:
        """Try all regions, if it is time to."""
        now_ns = self._clock.boot_ns()
        if now_ns < self.due_ns:
            return
        self.due_ns = now_ns + ASK_EVERY_NS
        for number, shard in enumerate(self._shards):
            self._try(shard, (number + self._passes) % WRITE_EVERY == 0 or shard.region in self._failing)
        self._passes += 1

    def _try(self, shard: Shard, writes: bool) -> None:
        try:
            with shard.registry.writing() as transaction:
                if writes:
                    transaction.latest_time.rewrite()
        except KMSError as error:
            if shard.region not in self._failing:
                _log.error("the registry cannot be written: %s", error)
            self._failing.add(shard.region)
        else:
            if shard.region in self._failing:
                _log.warning("the registry of region %s is written again", shard.region)
            self._failing.discard(shard.region)
