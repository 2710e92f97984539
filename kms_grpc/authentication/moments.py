"""Times in the texts of refusals."""

from __future__ import annotations

import time


def iso_time(time_ns: int) -> str:
    """Returns a time, in ns since 1970, as `2026-01-31T12:00:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ns // 10**9))
