"""File descriptors: the number of files and connections that a process may have open, and the number that it has.

systemd's usual soft limit is 1,024, for programs that use select(2). Here only the supervisor and the keeper use it, on
descriptors that they open at their start. Children inherit the supervisor's limit.
"""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Callable, Mapping
from typing import Final

FEW: Final = 0.1
"""A process that has less than this share of its descriptors left logs a warning."""
LOG_SECONDS: Final = 60.0
COUNT_SECONDS: Final = 5.0
"""How often the descriptors are counted, which takes longer than all else that a worker does at a beat."""
MOST: Final = 1 << 20
"""The soft limit is not raised beyond this, which is far more than all connections need: some container engines have
hard limits of a billion, and other programs' children close all descriptors one by one."""
_log = logging.getLogger(__name__)


def raise_limit() -> None:
    """Raises the soft limit of this process to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _in_use() -> int:
    with os.scandir("/proc/self/fd") as entries:
        return sum(1 for _ in entries)


class Descriptors:
    """Watches this process's descriptors."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged = -LOG_SECONDS
        self._counted = -COUNT_SECONDS

    def gauges(self) -> Mapping[str, int]:
        """Returns values for some of the names in processes.gauges.WORKER; none until the next count is due. Logs at
        most once a minute that few descriptors are left."""
        now = self._clock()
        if now - self._counted < COUNT_SECONDS:
            return {}
        self._counted = now
        limit, used = resource.getrlimit(resource.RLIMIT_NOFILE)[0], _in_use()
        if used > limit * (1 - FEW) and now - self._logged >= LOG_SECONDS:
            self._logged = now
            _log.warning(
                "%d of %d descriptors are in use: new connections will fail (ulimit -Hn, LimitNOFILE=)", used, limit
            )
        return {"descriptors": used, "descriptors_limit": limit}
