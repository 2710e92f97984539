"""Tries whether the shards can be written, before a caller finds out, and keeps their reserves filled."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from kms_grpc.clock import Clock
from kms_grpc.errors import KMSError
from kms_grpc.registry.shards import Shard

ASK_EVERY_NS: Final = 10 * 10**9
"""How often transactions are begun, which tells of a full disk and of a lock that is not released."""
REGIONS_AT_ONCE: Final = 4
"""So many regions are tried at a time, in turns. All of them share a disk, so a full one is found by the first try."""
WRITE_EVERY_NS: Final = 60 * 10**9
"""How often one region is written to, in turns, which tells of a disk that fails."""

_log = logging.getLogger(__name__)


class Writability:
    """The last try of each region. A region where it failed is tried by a write each time."""

    def __init__(self, shards: Iterable[Shard], clock: Clock) -> None:
        self._to_ask = deque(shards)
        self._to_write = self._to_ask.copy()
        self._clock = clock
        self._write_ns = 0
        self.due_ns = 0
        """Boot clock time of the next try."""
        self._failing: set[str] = set()

    @property
    def all_writable(self) -> bool:
        return not self._failing

    def try_some(self) -> None:
        """Try, if it is time to."""
        now_ns = self._clock.boot_ns()
        if now_ns < self.due_ns:
            return
        self.due_ns = now_ns + ASK_EVERY_NS
        written = [shard for shard in self._to_ask if shard.region in self._failing]
        if now_ns >= self._write_ns:
            self._write_ns = now_ns + WRITE_EVERY_NS
            written += _next(self._to_write, 1)
        for shard in dict.fromkeys([*written, *_next(self._to_ask, REGIONS_AT_ONCE)]):
            self._try(shard, shard in written)

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


def _next(turns: deque[Shard], count: int) -> list[Shard]:
    """Returns those whose turn it is, and puts them last."""
    taken = [*islice(turns, count)]
    turns.rotate(-len(taken))
    return taken
