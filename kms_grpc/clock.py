"""Time as one parameter: wall clock, boot clock and boot id travel together.

Validity is judged by the wall clock only as far as the boot clock agrees with it, so code never reads a clock by
itself; it is handed one. Tests step wall and boot together, or apart to play a clock that jumped.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    def wall_ns(self) -> int:
        """Nanoseconds since 1970 (CLOCK_REALTIME)."""

    def boot_ns(self) -> int:
        """Nanoseconds since boot, sleep included (CLOCK_BOOTTIME): never set, never set back."""

    def boot_id(self) -> str:
        """Names this boot of the machine; boot_ns of two boots cannot be compared."""


class SystemClock:
    """The machine's own clocks (Linux)."""

    def __init__(self) -> None:
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def wall_ns(self) -> int:
        return time.time_ns()

    def boot_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def boot_id(self) -> str:
        return self._boot_id
