"""Files that processes map into memory and that begin as zeros."""

from __future__ import annotations

import os
from pathlib import Path


def make_zero_file(path: Path, size: int) -> None:
    """Makes a file of `size` zeros that its owner alone may read, in place of an older one. All blocks are allocated:
    on a full disk, writing to a mapped hole raises SIGBUS. Raises OSError if there is no room."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
