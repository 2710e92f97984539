"""Whether the wall clock can be trusted with what cannot be undone."""

from __future__ import annotations

import logging
from typing import Final

from kms_grpc.clock import Clock

NEEDED_NS: Final = 3600 * 1_000_000_000
TOLERANCE_NS: Final = 1_000_000_000
"""Between two looks: far more than a clock is slewed, far less than one is set."""

_log = logging.getLogger(__name__)


class ClockTrust:
    """Wall clock and boot clock must have gone forward together for an hour before anything is destroyed for its age,
    and before their time is recorded: else a clock that was set forward for a minute and right again would destroy
    what is due in a year.

    A start begins the hour anew; so does a jump, which is an alarm in the log and in `jumps`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.jumps = 0
        self._begin()

    @property
    def wall_ns(self) -> int:
        """What the last look has read: what it says of the clock holds for this and for no later reading, which may be
        of a clock that was set meanwhile."""
        return self._wall_ns

    def _begin(self) -> None:
        self._since_boot_ns = self._boot_ns = self._clock.boot_ns()
        self._wall_ns = self._clock.wall_ns()

    def holds(self) -> bool:
        """Look at both clocks; to be called every few seconds."""
        wall_ns, boot_ns = self._clock.wall_ns(), self._clock.boot_ns()
        apart_ns = (wall_ns - self._wall_ns) - (boot_ns - self._boot_ns)
        self._wall_ns, self._boot_ns = wall_ns, boot_ns
        if abs(apart_ns) > TOLERANCE_NS:
            self.jumps += 1
            self._begin()
            _log.error("the wall clock jumped by %.1f s: nothing is destroyed for its age for an hour", apart_ns / 1e9)
        return boot_ns - self._since_boot_ns >= NEEDED_NS
