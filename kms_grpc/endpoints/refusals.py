"""Refusals of strangers by a door, before it knows who calls: counted, and logged once a minute for each reason."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

SECONDS: Final = 60.0
"""Shortest time between two lines about one reason. A line gives the number of refusals since the line before."""
_log = logging.getLogger(__name__)


class Refusals:
    """The refusals of one door. `reason` is one of few constant texts: each is kept."""

    def __init__(self, door: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._door, self._clock = door, clock
        self.count = 0
        self._unlogged: dict[str, int] = {}
        self._logged: dict[str, float] = {}

    def add(self, reason: str, peer: str) -> None:
        """Counts a refusal. `peer` is the address of the one that is logged."""
        self.count += 1
        since = self._unlogged.get(reason, 0) + 1
        now = self._clock()
        if now - self._logged.get(reason, -SECONDS) < SECONDS:
            self._unlogged[reason] = since
            return
        self._logged[reason], self._unlogged[reason] = now, 0
        _log.warning("the %s refuses: %s", self._door, reason, extra={"peer": peer, "count": since})
