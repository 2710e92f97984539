"""The contract of a store that notices when it is old or gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Guarded(Protocol):
    """A store with row hashes and a mark outside of it (sql/row_hashes.py, mark.py)."""

    def is_replaced(self) -> bool:
        """Returns whether the store's file is another one than when it was opened. Reads and writes are then refused
        with DependencyTimeoutException, since what is written would be lost."""

    def differences(self, bucket: int, count: int = 1) -> Sequence[str]:
        """Returns in words how the rows of `count` buckets of the row hashes, from `bucket` on, differ from what was
        committed last; empty if they do not."""

    def checkpoint(self) -> bool:
        """Copies the write-ahead log into the store's file if that is due. Only the keeper calls this."""

    def seconds_to_checkpoint(self) -> float:
        """Returns the seconds until `checkpoint` is due; infinity if nothing was written since the last one."""

    @property
    def mark_folder(self) -> Path:
        """Folder of the mark, whose change tells of a commit."""

    def sync_mark(self) -> None:
        """Waits until what was written to the mark is on the disk. Raises OSError."""
