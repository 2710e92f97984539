"""Tells a thread that something happened in a folder (inotify(7)), so that the thread can sleep instead of polling."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
from collections.abc import Sequence
from pathlib import Path
from typing import Final

WRITTEN: Final = 0x2 | 0x80 | 0x100 | 0x200
"""A file of the folder was written to, or got or lost its name: IN_MODIFY, IN_MOVED_TO, IN_CREATE, IN_DELETE."""
RENAMED: Final = 0x40 | 0x80 | 0x200
"""A file of the folder was moved or deleted: IN_MOVED_FROM, IN_MOVED_TO, IN_DELETE."""

_ITSELF: Final = 0x400 | 0x800
"""The folder was deleted or moved: IN_DELETE_SELF, IN_MOVE_SELF. The path may name another one now."""
_ONCE: Final = 0x80000000
_INIT_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)
_log = logging.getLogger(__name__)


class FolderWatch:
    """Watches the files of one folder for `events`. The kernel reports only the first event until `take` is called, so
    that a file that is written to all the time costs its writers nothing. Where the folder is moved and made anew, the
    new one is watched.

    Where there is no such folder, or the kernel has no watch left (/proc/sys/fs/inotify), `is_blind` is True and `take`
    always returns True: then the caller must poll. Each `take` tries to watch again.
    """

    def __init__(self, folder: Path, events: int) -> None:
        self._folder = os.fsencode(folder)
        self._events = events | _ITSELF | _ONCE
        self._descriptor = _libc.inotify_init1(_INIT_FLAGS)
        self.is_blind = self._descriptor < 0 or not self._watch()
        if self.is_blind:
            _log.warning("cannot watch %s (%s), so it is polled", folder, os.strerror(ctypes.get_errno()))

    def take(self) -> bool:
        """Returns whether something happened since the last call. A later event makes the next call return True, so
        look at the files after this call."""
        if not self.is_blind and not self._was_told():
            return False
        self.is_blind = not self._watch()
        return True

    def _was_told(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self._descriptor, 65536))
        return False

    def wait(self, others: Sequence[int], seconds: float) -> bool:
        """Waits up to `seconds` until something happens or one of the `others` is readable. Returns whether one of the
        `others` is; `take` tells whether something happened."""
        poll = select.poll()
        for descriptor in (*others, *([] if self.is_blind else [self._descriptor])):
            poll.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
        return not ready.isdisjoint(others)

    def close(self) -> None:
        """Ends the watch. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self.is_blind = -1, True

    def _watch(self) -> bool:
        return self._descriptor >= 0 and bool(
            _libc.inotify_add_watch(self._descriptor, self._folder, self._events) >= 0
        )
