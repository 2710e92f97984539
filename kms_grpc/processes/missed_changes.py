"""Makes up for changes that were committed but never announced, because the process that wrote them was killed between
the two: a command beside the server, such as `kms-grpc principals access-key delete`.

Each commit adds its entries in the change log to a number that all processes share (registry/words.py). Where that
number differs from the change log's last entry at two looks, one second apart, an announcement is missing; then all
Permits and caches of the region become stale. A writer that is between commit and announcement at both looks has the
same effect, once; its step takes microseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kms_grpc.errors import KMSError
from kms_grpc.folder_watch import WRITTEN, FolderWatch
from kms_grpc.registry.shards import Shard

_log = logging.getLogger(__name__)


_QUIET_TRIES: Final = 8
"""How often a look reads again because changes were announced while it read."""


@dataclass(slots=True)
class _Seen:
    """The state that the last look saw."""

    version: object = None
    differed: bool = False
    """The change log had more or fewer entries than were announced."""


class MissedChanges:
    """Looks at all shards of a server. One thread calls `look`, once a second: a missed change stays unnoticed for two
    seconds at most."""

    def __init__(self, shards: Iterable[Shard], folder: Path) -> None:
        """`folder` is the one that the shards are in."""
        self._writes = FolderWatch(folder, WRITTEN)
        self._settled = False
        """The last look found nothing written since the look before."""
        self._seen = [(shard, _Seen()) for shard in shards]
        self.found = 0

    def look(self) -> None:
        """Looks at the shards if something was written. A shard that cannot be read is looked at again next time."""
        if not self._writes.take() and self._settled:
            return
        self._settled = True
        for shard, seen in self._seen:
            try:
                self._settled &= self._look(shard, seen)
            except KMSError as problem:
                self._settled = False
                _log.debug("the change log of %s cannot be read for now: %s", shard.region, problem)

    def close(self) -> None:
        self._writes.close()

    def _look(self, shard: Shard, seen: _Seen) -> bool:
        """Returns whether the shard is as the last look saw it."""
        version = shard.registry.version()
        if version == seen.version and not seen.differed:
            return True
        missing = _missing(shard)
        if missing and seen.differed:
            self._make_up(shard, missing)
            missing = 0
        seen.version, seen.differed = version, missing != 0
        return False

    def _make_up(self, shard: Shard, missing: int) -> None:
        shard.words.announce_all()
        shard.words.announced.add(missing)
        self.found += 1
        _log.warning("a change of %s was not announced; all Permits and caches of the region are stale", shard.region)


def _missing(shard: Shard) -> int:
    """Returns how many entries of the change log were not announced; negative where more were announced than there are.
    0 where changes go on so fast that no read falls between two of them: the next look tries again."""
    for _ in range(_QUIET_TRIES):
        before = shard.words.announced.value
        last = shard.registry.changes.last()
        if shard.words.announced.value == before:
            return last - before
    return 0
