"""A reserve of disk space for the audit log: blocks allocated beyond the end of the log file.

`fallocate` with FALLOC_FL_KEEP_SIZE allocates blocks without changing the file's size; appending then fills them. On a
full disk the log can be written until they are used up, while every other writer is refused. A separate file that is
cut in steps would not do: any process may take the space that it frees, and ext4 hands it out only after its journal
has committed.

`du` shows a log larger than `ls` by the reserve. A log that was moved away frees its reserve.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

KEEP_SIZE: Final = 1
STEP_BYTES: Final = 1024 * 1024
"""The reserve is filled up again once this much of it is used."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def left(descriptor: int) -> int:
    """Returns the bytes that can still be appended when the file system is full."""
    facts = os.fstat(descriptor)
    return max(0, facts.st_blocks * 512 - facts.st_size)


def extend(descriptor: int, size: int) -> None:
    """Allocates about `size` bytes beyond the end of the file. Raises OSError: ENOSPC if there is no room, EOPNOTSUPP
    if the file system cannot."""
    if size - left(descriptor) >= min(STEP_BYTES, max(size // 4, 1)):
        allocate(descriptor, size)


def allocate(descriptor: int, size: int) -> None:
    """Allocates `size` bytes beyond the end of the file. Raises OSError as `extend` does."""
    if _libc.fallocate(descriptor, KEEP_SIZE, os.fstat(descriptor).st_size, size) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def release(descriptor: int) -> None:
    """Frees the blocks beyond the end of the file."""
    os.ftruncate(descriptor, os.fstat(descriptor).st_size)


def is_full(error: OSError) -> bool:
    """Returns whether the error goes away once there is room on the disk."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
