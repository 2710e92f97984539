"""Decides which regions the keeper must look at in a pass: those that were written to, and those where a date has come.

The others cost a stat(2) each. A region's shard tells by its version (Registry.version) whether anything was written to
it, by any process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kms_grpc.registry.rows import Upcoming
from kms_grpc.registry.shards import Shard

ANYWAY_NS: Final = 60 * 10**9
"""Boot clock time after which a region is looked at although nothing points to it."""


@dataclass(slots=True)
class Look:
    """Findings of the last look at a region."""

    version: object
    boot_ns: int
    trusted: bool
    upcoming: Upcoming

    def is_outdated(self, version: object, now_ns: int, boot_ns: int, trusted: bool) -> bool:
        """Returns whether the region must be looked at again."""
        if version != self.version or trusted != self.trusted or boot_ns - self.boot_ns >= ANYWAY_NS:
            return True
        return any(date_ns is not None and date_ns <= now_ns for date_ns in self.dates_ns(trusted))

    def dates_ns(self, trusted: bool) -> tuple[int | None, ...]:
        """Returns the dates that count: a deletion or an expiry waits until the clock is trusted."""
        upcoming = self.upcoming
        destructions = (upcoming.next_deletion_ns, upcoming.next_expiry_ns) if trusted else ()
        return (upcoming.next_rotation_ns, *destructions)


class Looks:
    """The last look at each region."""

    def __init__(self) -> None:
        self._last: dict[str, Look] = {}
        self._upcoming: dict[str, Upcoming] = {}

    def is_due(self, shard: Shard, wall_ns: int, boot_ns: int, trusted: bool) -> bool:
        """Returns whether a look at a region is due."""
        last = self._last.get(shard.region)
        now_ns = max(wall_ns, shard.words.latest_time.value)
        return last is None or last.is_outdated(shard.registry.version(), now_ns, boot_ns, trusted)

    def next_date_ns(self) -> int | None:
        """Returns the first date at which a region must be looked at, in nanoseconds since 1970."""
        dates_ns = (date_ns for look in self._last.values() for date_ns in look.dates_ns(look.trusted))
        return min((date_ns for date_ns in dates_ns if date_ns is not None), default=None)

    @property
    def upcoming(self) -> list[Upcoming]:
        """The next dates of each region that was looked at."""
        return [*self._upcoming.values()]

    def begin(self, shard: Shard) -> object:
        """Begins a look; a write from here on leads to another one. Returns the shard's version, for `end`."""
        self._last.pop(shard.region, None)
        return shard.registry.version()

    def end(self, shard: Shard, version: object, boot_ns: int, trusted: bool) -> None:
        """Ends a look that found all in order. Without it, the next pass looks again."""
        upcoming = shard.registry.keys.upcoming()
        self._last[shard.region] = Look(version, boot_ns, trusted, upcoming)
        self._upcoming[shard.region] = upcoming
