"""Decides when a shard's write-ahead log is copied into its file: a second after the last copy if anything was written,
and at each pass of the keeper (four a second) from 4 MiB on. SQLite starts the log anew without making its file
smaller, so the size does not tell how much of it waits.

With a log that is damaged or lost, only the commits since the last copy are lost; the mark tells that they are missing.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Final

BYTES: Final = 4 * 1024 * 1024
SECONDS: Final = 1.0

Facts = tuple[int, int]
"""Size of the log, and when it was written last (ns)."""


class LogCopy:
    """Notes what was copied. For one process alone."""

    def __init__(self, path: Path) -> None:
        self._path = f"{path}-wal"
        self._copied: Facts = (0, 0)
        self._tried = 0.0

    def facts(self) -> Facts:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - asked at each pass; Path.stat takes twice as long
        except OSError:
            return 0, 0
        return found.st_size, found.st_mtime_ns

    def is_due(self) -> bool:
        return self.seconds_to_due() <= 0

    def seconds_to_due(self) -> float:
        """Returns the seconds until the log is to be copied; infinity if nothing was written since it was."""
        size, written = self.facts()
        if not size or (size, written) == self._copied:
            return math.inf
        return 0.0 if size >= BYTES else self._tried + SECONDS - time.monotonic()

    def note(self, before: Facts, *, complete: bool) -> None:
        """Notes a copy of a log that was at `before`. Readers may have held some of it back."""
        self._tried = time.monotonic()
        if complete:
            self._copied = before
