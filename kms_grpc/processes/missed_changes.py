"""Makes up for changes that were committed but never announced, because the process that wrote them was killed between
the two: a command beside the server, such as `kms-grpc principals access-key delete`.

Each commit adds its entries in the change log to a number that all processes share (registry/words.py). Where that
number differs from the change log's last entry at two looks, with no change of either in between, an announcement is
missing; then all Permits and caches of the region become stale. A writer that is between commit and announcement for
that long costs the same, once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from kms_grpc.errors import KMSError
from kms_grpc.registry.shards import Shard

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seen:
    """The state that the last look saw."""

    version: object = None
    counts: tuple[int, int] | None = None
    """(last entry, announced), where they differed."""


class MissedChanges:
    """Looks at all shards of a server. One thread calls `look`, once a second: a missed change holds for two seconds at
    most."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._seen = [(shard, _Seen()) for shard in shards]
        self.found = 0

    def look(self) -> None:
        """Looks once. A shard that cannot be read is looked at again the next time."""
        for shard, seen in self._seen:
            try:
                self._look(shard, seen)
            except KMSError as problem:
                _log.debug("the change log of %s cannot be read for now: %s", shard.region, problem)

    def _look(self, shard: Shard, seen: _Seen) -> None:
        version = shard.registry.version()
        if version == seen.version and seen.counts is None:
            return
        announced = shard.words.announced.value
        counts = (shard.registry.changes.last(), announced)
        if counts[0] == announced:
            seen.version, seen.counts = version, None
        elif counts == seen.counts:
            self._make_up(shard, counts)
            seen.counts = None
        else:
            seen.counts = counts

    def _make_up(self, shard: Shard, counts: tuple[int, int]) -> None:
        shard.words.announce_all()
        shard.words.announced.add(counts[0] - counts[1])
        self.found += 1
        _log.warning("a change of %s was not announced; all Permits and caches of the region are stale", shard.region)
