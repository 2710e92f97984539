"""Settings of glibc's malloc for large messages.

By default malloc returns the pages of a freed large buffer to the kernel, and the next buffer faults them in again:
with messages of 1 MiB that halves the throughput. The thresholds set here keep freed pages. Also, memory freed in one
arena is reused only by the threads of that arena, and there are eight arenas per processor. gRPC allocates and frees
messages on different threads, so a worker with 64 stalled streams grew to twice the memory it used. Two arenas are as
fast.
"""

from __future__ import annotations

import ctypes
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
MMAP_BYTES: Final = 32 * 1024 * 1024
"""The largest value that glibc accepts (HEAP_MAX_SIZE / 2 on 64 bits)."""
TRIM_BYTES: Final = 64 * 1024 * 1024
ARENAS: Final = 2


def keep_freed_pages() -> bool:
    """Raise both thresholds and limit the arenas. Call it before starting threads.

    Returns False if the C library has no mallopt (musl) or rejects a value.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = ((M_MMAP_THRESHOLD, MMAP_BYTES), (M_TRIM_THRESHOLD, TRIM_BYTES), (M_ARENA_MAX, ARENAS))
    return mallopt is not None and all(mallopt(*setting) for setting in settings)
