"""A file that appears under its name whole or not at all, also when the process is killed while it is written.

It is written beside its place under a hidden name (`.NAME.….kms-unfinished`), made durable, and renamed. What is no
regular file (a pipe, a device) is written as it is: there is nothing to replace.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from kms_grpc.folder_sync import sync_folder

UNFINISHED: Final = ".kms-unfinished"
"""What the names of such files end with: one that a killed process left may be removed."""


@contextlib.contextmanager
def whole_file(path: Path, mode: int) -> Iterator[BinaryIO]:
    """The file to write to; under `path` once the block has ended without an exception. OSError."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        with path.open("wb") as special:
            yield special
        return
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:200]}.", suffix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
