"""Room for the audit log that nobody else can take: blocks allocated beyond the end of the log file itself.

`fallocate` with FALLOC_FL_KEEP_SIZE gives the file blocks without changing its size; appending then fills them. On
a full disk the log goes on until they are used up, while every other writer is refused. A file set aside and given
back in steps would not do: what it frees belongs to whoever writes first, and ext4 hands it out only after its
journal has committed.

`du` shows a log larger than `ls` does by the reserve; a log that was moved away gives its reserve back.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

KEEP_SIZE: Final = 1
STEP_BYTES: Final = 1024 * 1024
"""The reserve is made good again once this much of it is used."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def left(descriptor: int) -> int:
    """Bytes that can still be appended when the file system has nothing more to give."""
    facts = os.fstat(descriptor)
    return max(0, facts.st_blocks * 512 - facts.st_size)


def extend(descriptor: int, size: int) -> None:
    """See to it that `size` bytes lie ready beyond the end, give or take a step. Raises OSError: ENOSPC where there
    is no room, EOPNOTSUPP where the file system cannot."""
    if size - left(descriptor) < min(STEP_BYTES, max(size // 4, 1)):
        return
    if _libc.fallocate(descriptor, KEEP_SIZE, os.fstat(descriptor).st_size, size) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def release(descriptor: int) -> None:
    """Give back what lies beyond the end."""
    os.ftruncate(descriptor, os.fstat(descriptor).st_size)


def is_full(error: OSError) -> bool:
    """Whether the error passes when someone makes room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
