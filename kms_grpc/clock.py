"""Clocks as a parameter: wall clock, boot clock and boot id in one object.

The wall clock is trusted only as far as the boot clock agrees with it. No other module reads the system's clocks: each
gets a Clock. Tests step both clocks together, or apart to simulate a jump.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, Protocol

HOUR_NS: Final = 3600 * 10**9
DAY_NS: Final = 24 * HOUR_NS


class Clock(Protocol):
    """A source of wall time and boot time."""

    def wall_ns(self) -> int:
        """Returns nanoseconds since 1970 (CLOCK_REALTIME)."""

    def boot_ns(self) -> int:
        """Returns nanoseconds since boot, sleep included (CLOCK_BOOTTIME). Nobody can set this clock."""

    def boot_id(self) -> str:
        """Returns the id of this boot of the machine. `boot_ns` of different boots cannot be compared."""


def boot_ns() -> int:
    """Returns nanoseconds since boot, sleep included (CLOCK_BOOTTIME)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class SystemClock:
    """The clocks of the machine (Linux)."""

    def __init__(self) -> None:
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def wall_ns(self) -> int:
        return time.time_ns()

    def boot_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def boot_id(self) -> str:
        return self._boot_id


class JudgedClock:
    """A clock whose wall time is never earlier than the latest time that a shard has recorded (`raise_floor`).
    Validity is judged by it, so that a wall clock that was set back does not make anything valid again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall_ns, self.boot_ns = clock.wall_ns, clock.boot_ns
        self._floor_ns = 0

    def wall_ns(self) -> int:
        now_ns = self._wall_ns()
        return now_ns if now_ns > self._floor_ns else self._floor_ns

    def boot_id(self) -> str:
        return self._clock.boot_id()

    def raise_floor(self, time_ns: int) -> None:
        """Sets the earliest wall time, in nanoseconds since 1970. An earlier floor than the present one is ignored."""
        self._floor_ns = max(self._floor_ns, time_ns)
