"""glibc's malloc, told to keep what it has.

By default freeing a large buffer gives its pages back to the kernel and the next one faults them in again: with
messages of 1 MiB that costs half of the throughput. And what one thread freed is for the threads of its arena alone, of
which there are eight to a processor: gRPC takes messages in on some threads and lets them go on others, and a worker
with 64 stalled streams grew to twice of what it used. Two arenas serve as fast.
"""

from __future__ import annotations

import ctypes
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
MMAP_BYTES: Final = 32 * 1024 * 1024
"""The most that glibc takes (HEAP_MAX_SIZE / 2 on 64 bits)."""
TRIM_BYTES: Final = 64 * 1024 * 1024
ARENAS: Final = 2


def keep_freed_pages() -> bool:
    """Raise both thresholds and bound the arenas, before there are threads; False where the C library has no mallopt
    (musl) or refuses."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = ((M_MMAP_THRESHOLD, MMAP_BYTES), (M_TRIM_THRESHOLD, TRIM_BYTES), (M_ARENA_MAX, ARENAS))
    return mallopt is not None and all(mallopt(*setting) for setting in settings)
