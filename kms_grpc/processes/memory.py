"""glibc's malloc, told to keep what it has.

By default freeing a large buffer gives its pages back to the kernel and the next one faults them in again: with
messages of 1 MiB that costs half of the throughput.
"""

from __future__ import annotations

import ctypes
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
MMAP_BYTES: Final = 32 * 1024 * 1024
"""The most that glibc takes (HEAP_MAX_SIZE / 2 on 64 bits)."""
TRIM_BYTES: Final = 64 * 1024 * 1024


def keep_freed_pages() -> bool:
    """Raise both thresholds; False where the C library has no mallopt (musl) or refuses."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all((mallopt(M_MMAP_THRESHOLD, MMAP_BYTES), mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)))
