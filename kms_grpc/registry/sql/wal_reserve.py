"""A reserve of disk space in a shard: blocks allocated beyond the end of its write-ahead log.

A transaction appends to the write-ahead log, so one that may spend the reserve commits on a full disk. Any other is
refused while the file system has no room outside the reserve. The reserve has no blocks for checkpoints, which wait
until there is room again.

The log may be opened here, unlike the shard's file: SQLite holds no locks on it (sqlite.py).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from kms_grpc.audit import reserve

KEPT_BYTES: Final = 1280 * 1024
"""Bytes that marked transactions may spend. One of them appends 44 to 72 KiB."""
STEP_BYTES: Final = 256 * 1024
"""The reserve is allocated larger by this, and this much must be free outside it."""


class WalReserve:
    """The reserve of one shard, for one thread at a time. `path` is the shard's file."""

    def __init__(self, path: Path) -> None:
        self._path = Path(f"{path}-wal")
        self._descriptor: int | None = None
        self._supported = True

    def has_room(self) -> bool:
        """Returns whether a transaction fits that may not spend the reserve. Fills the reserve up first."""
        return self.fill() and _free_bytes(self._path.parent) >= STEP_BYTES

    def fill(self) -> bool:
        """Allocates what is missing; returns whether the reserve is whole. True where the file system cannot reserve
        anything, or there is no write-ahead log yet."""
        log = self._log() if self._supported else None
        if log is None or reserve.left(log) >= KEPT_BYTES:
            return True
        try:
            reserve.allocate(log, KEPT_BYTES + STEP_BYTES)
        except OSError as error:
            self._supported = reserve.is_full(error)
            return not self._supported
        return True

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _log(self) -> int | None:
        """Returns a descriptor of the present write-ahead log; SQLite may have made a new one."""
        with contextlib.suppress(OSError):
            named = self._path.stat()
            if self._descriptor is not None and os.path.samestat(named, os.fstat(self._descriptor)):
                return self._descriptor
            self.close()
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            return self._descriptor
        return None


def _free_bytes(folder: Path) -> int:
    facts = os.statvfs(folder)
    return facts.f_frsize * (facts.f_bfree if os.geteuid() == 0 else facts.f_bavail)
