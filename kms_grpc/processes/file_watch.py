"""Waits until a file in some folders is written to, by whichever process, without looking at the files: inotify(7).

Where the kernel has no inotify, or has no watch left, each wait is over after its delay, as if something had changed.
"""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_IN_MODIFY: Final = 0x2
_IN_MOVED: Final = 0xC0
_IN_CREATE_DELETE: Final = 0x300
_IN_SELF: Final = 0xC00
_WATCHED: Final = _IN_MODIFY | _IN_MOVED | _IN_CREATE_DELETE | _IN_SELF
_ANYWAY_S: Final = 60.0
"""Seconds after which a wait ends although nothing was told: a folder may have been replaced."""

_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """Watches some folders. One thread waits; any other may end that."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = list(folders)
        self._end_reader, self._end_writer = os.pipe()
        self._inotify = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watches = self._watch()

    def wait(self, delay_s: float) -> bool:
        """Returns True when something has changed since the last call and `delay_s` seconds have passed since; False
        after `end`."""
        if self._watches and self._is_ended(_ANYWAY_S, self._inotify):
            return False
        if self._is_ended(delay_s):
            return False
        if self._inotify >= 0:
            self._drain()
            self._watches = self._watch()
        return True

    def end(self) -> None:
        """Ends the present wait and all later ones."""
        os.write(self._end_writer, b"e")

    def close(self) -> None:
        for descriptor in (self._end_reader, self._end_writer, self._inotify):
            if descriptor >= 0:
                os.close(descriptor)

    def _is_ended(self, seconds: float, *others: int) -> bool:
        """Waits for `end`, or until one of the other descriptors can be read."""
        poll = select.poll()
        for descriptor in (self._end_reader, *others):
            poll.register(descriptor, select.POLLIN)
        return any(descriptor == self._end_reader for descriptor, _ in poll.poll(1000 * seconds))

    def _drain(self) -> None:
        try:
            while os.read(self._inotify, 65_536):
                pass
        except BlockingIOError:
            return

    def _watch(self) -> bool:
        """Watches the folders that the paths name now; returns whether that worked for all. A folder that is watched
        already stays so."""
        if self._inotify < 0:
            return False
        return all(_libc.inotify_add_watch(self._inotify, os.fsencode(each), _WATCHED) >= 0 for each in self._folders)
