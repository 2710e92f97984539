"""Tells by stat(2) alone whether a path still names the same file.

Opening a shard's file would not do: closing any descriptor of it drops the locks that SQLite holds (fcntl(2)).
"""

from __future__ import annotations

import os
from pathlib import Path


class FileIdentity:
    """The file that a path names when this object is made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _facts(path)

    def has_changed(self) -> bool:
        """Returns whether the path names another file now, or none."""
        return self._file is not None and _facts(self._path) != self._file


def _facts(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - asked for each statement; Path.stat takes twice as long
    except OSError:
        return None
    return found.st_dev, found.st_ino
