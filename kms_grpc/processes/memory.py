"""Settings of glibc's malloc for large messages.

By default malloc returns the pages of a freed large buffer to the kernel, and the next buffer faults them in again:
with messages of 1 MiB that halves the throughput. The thresholds set here keep freed pages. Also, memory freed in one
arena is reused only by the threads of that arena, and there are eight arenas per processor. gRPC allocates and frees
messages on different threads, so a worker with 64 stalled streams grew to twice the memory it used. Two arenas are as
fast.

Memory kept by these settings is given back once it is much (FreedMemory): otherwise many large calls at once left a
worker with 900 MB and more for good.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
MMAP_BYTES: Final = 32 * 1024 * 1024
"""The largest value that glibc accepts (HEAP_MAX_SIZE / 2 on 64 bits)."""
TRIM_BYTES: Final = 64 * 1024 * 1024
ARENAS: Final = 2
GROWTH_BYTES: Final = 128 * 1024 * 1024
"""Memory that a process keeps beyond the least that it has had: twice the messages in flight."""
WORTH_BYTES: Final = 8 * 1024 * 1024
REST_SECONDS: Final = 10.0
"""Shortest time between two trims. Faulting 128 MiB in again costs a worker some 20 ms."""
LONGEST_REST_SECONDS: Final = 640.0
"""The time between trims doubles up to this while less than WORTH_BYTES come back: the memory is in use."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def keep_freed_pages() -> bool:
    """Raise both thresholds and limit the arenas. Call it before starting threads.

    Returns False if the C library has no mallopt (musl) or rejects a value.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = ((M_MMAP_THRESHOLD, MMAP_BYTES), (M_TRIM_THRESHOLD, TRIM_BYTES), (M_ARENA_MAX, ARENAS))
    return mallopt is not None and all(mallopt(*setting) for setting in settings)


def resident_bytes() -> int:
    """Returns the resident set size of this process in bytes, from /proc/self/statm."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE


class FreedMemory:
    """Gives freed memory back to the kernel (malloc_trim), on a thread of its own."""

    def __init__(
        self, resident: Callable[[], int] = resident_bytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._resident = resident
        self._clock = clock
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._least = resident()
        self._next, self._rest = clock(), REST_SECONDS

    def look(self) -> threading.Thread | None:
        """Call it every few seconds. Returns the thread that gives memory back, if it is time for that."""
        resident, now = self._resident(), self._clock()
        self._least = min(self._least, resident)
        if self._trim is None or now < self._next or resident < self._least + GROWTH_BYTES:
            return None
        self._next = now + self._rest
        thread = threading.Thread(target=self._give_back, args=(resident,), name="freed-memory", daemon=True)
        thread.start()
        return thread

    def _give_back(self, before: int) -> None:
        assert self._trim is not None
        self._trim(0)
        came_back = before - self._resident() >= WORTH_BYTES
        self._rest = REST_SECONDS if came_back else min(2 * self._rest, LONGEST_REST_SECONDS)
