"""Files that are written atomically: complete under their name, or not there, even if the process is killed.

The content is written to a hidden file in the same folder (`.NAME.….kms-unfinished`), synced to disk, and renamed. A
pipe or a device is written directly.
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
"""Suffix of the hidden files. One that a killed process has left can be removed."""


@contextlib.contextmanager
def whole_file(path: Path, mode: int) -> Iterator[BinaryIO]:
    """Yields a file to write to, which becomes `path` when the block ends without an exception.

    `mode` gives the permissions of the file. Raises OSError.
    """
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
