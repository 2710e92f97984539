"""Tells by stat(2) alone whether a path still names the same file, and whether a file was written to.

Opening a shard's file would not do: closing any descriptor of it drops the locks that SQLite holds (fcntl(2)).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

RECENT_S: Final = 0.25
SETTLED_NS: Final = 100_000_000
"""Age from which a file's time of change is that of its last write alone. The kernel gives these times in steps of up
to 10 ms, so a later write within a step leaves the time as it is."""


class FileIdentity:
    """The file that a path names when this object is made."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._file = _facts(self._path)
        self._looked = time.monotonic()
        self._changed = False

    def has_changed(self) -> bool:
        """Returns whether the path names another file now, or none."""
        self._looked = time.monotonic()
        self._changed = self._file is not None and _facts(self._path) != self._file
        return self._changed

    def has_changed_lately(self) -> bool:
        """Returns what `has_changed` found at most a quarter of a second ago."""
        return self.has_changed() if time.monotonic() - self._looked > RECENT_S else self._changed


def _facts(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - asked for each commit; Path.stat takes twice as long
    except OSError:
        return None
    return found.st_dev, found.st_ino
