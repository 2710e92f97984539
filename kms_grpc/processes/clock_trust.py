"""Decides whether the wall clock is trusted for irreversible work, such as the deletion of keys."""

from __future__ import annotations

import logging
from typing import Final

from kms_grpc.clock import Clock

NEEDED_NS: Final = 3600 * 1_000_000_000
TOLERANCE_NS: Final = 1_000_000_000
"""Allowed difference between two checks: far more than NTP slews a clock, far less than a clock is set by."""

_log = logging.getLogger(__name__)


class ClockTrust:
    """Trusts the wall clock once it has agreed with the boot clock for an hour.

    Until then nothing is destroyed because of its age, and the wall clock's time is not recorded in the shards.
    Otherwise a clock that is wrongly set forward for a minute would destroy keys that are due in a year. The hour
    begins anew at each start and at each jump of the wall clock. A jump is logged as an error and counted in `jumps`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.jumps = 0
        self._begin()

    @property
    def wall_ns(self) -> int:
        """The wall clock as read by the last check. The check's result holds for this reading only, since the clock may
        be set at any time afterwards."""
        return self._wall_ns

    def _begin(self) -> None:
        self._since_boot_ns = self._boot_ns = self._clock.boot_ns()
        self._wall_ns = self._clock.wall_ns()

    def check(self) -> bool:
        """Compare both clocks; True if the wall clock is trusted. Call it every few seconds."""
        wall_ns, boot_ns = self._clock.wall_ns(), self._clock.boot_ns()
        apart_ns = (wall_ns - self._wall_ns) - (boot_ns - self._boot_ns)
        self._wall_ns, self._boot_ns = wall_ns, boot_ns
        if abs(apart_ns) > TOLERANCE_NS:
            self.jumps += 1
            self._begin()
            _log.error("the wall clock jumped by %.1f s: key deletion and expiry wait for one hour", apart_ns / 1e9)
        return boot_ns - self._since_boot_ns >= NEEDED_NS
