"""The mark of a shard: the counters of its row hashes, kept outside the shard.

A shard that was replaced by an older copy of itself, or that has lost commits, has smaller counters than its mark. A
commit is written to the mark before its answer; the mark may trail the shard, and never leads it. No writer syncs the
mark: the keeper does so within 100 ms.

| offset | bytes | field |
|---|---|---|
| 0 | 8 | "KMSMARK1" |
| 8 | 56 | zero |
| 64 + 64 b | 8 | counter of bucket b, big-endian |
| 72 + 64 b | 24 | zero |
| 96 + 64 b | 32 | HMAC-SHA-256 under the key of the rows' MACs, over frame("mark", partition, region, b, counter) |

In the frame b and counter have 8 bytes, big-endian. An entry lies within one sector, so a power cut leaves the old one
or the new one. Counters of a new shard are 0.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hmac import compare_digest
from pathlib import Path
from struct import Struct
from typing import Final

from kms_grpc.folder_sync import sync_folder
from kms_grpc.registry.file_identity import SETTLED_NS
from kms_grpc.registry.sql.row_hashes import BUCKETS
from kms_grpc.registry.sql.rows import RowMac
from kms_grpc.registry.verified import Verified

MAGIC: Final = b"KMSMARK1"
ENTRY: Final = 64
SIZE: Final = ENTRY * (1 + BUCKETS)
_COUNTERS: Final = Struct(">" + "Q56x" * BUCKETS)
_PATIENCE_S: Final = 1.0
_RETRY_S: Final = 0.0005


class MarkUnusable(Exception):
    """The mark is missing, or was changed on disk."""


class Mark:
    """The mark of one shard. `macs` are those of the shard. Thread-safe, and safe beside other processes."""

    def __init__(self, path: Path, macs: RowMac) -> None:
        self.path = path
        self._macs = macs
        self._synced_ns = 0
        self._verified = Verified()

    def create(self) -> None:
        """Makes the mark of a new shard, all counters 0, durably; replaces one that is there. Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = self.path.with_name(self.path.name + ".new")
        made.write_bytes(MAGIC.ljust(ENTRY, b"\0") + b"".join(self._entry(bucket, 0) for bucket in range(BUCKETS)))
        made.chmod(0o600)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(self.path)
        sync_folder(self.path.parent)

    def counters(self, buckets: Sequence[int] = range(BUCKETS)) -> dict[int, int]:
        """Returns the counters of these buckets. Raises MarkUnusable if one was changed on disk, and OSError."""
        found = self.valid_counters(buckets)
        if len(found) < len(buckets):
            raise MarkUnusable(f"{self.path} was changed on disk")
        return found

    def valid_counters(self, buckets: Sequence[int] = range(BUCKETS)) -> dict[int, int]:
        """Returns the counters of the buckets whose entry is as it was written. Raises MarkUnusable if the mark is
        missing, and OSError."""
        with self._open(os.O_RDONLY) as descriptor:
            content = os.pread(descriptor, SIZE, 0)
        if self._verified.is_same(content):
            counters = _COUNTERS.unpack_from(content, ENTRY)
            return {bucket: counters[bucket] for bucket in buckets}
        found = {}
        for bucket in buckets:
            entry = content[_offset(bucket) : _offset(bucket) + ENTRY]
            counter = int.from_bytes(entry[:8])
            if compare_digest(entry, self._entry(bucket, counter)):
                found[bucket] = counter
        if len(found) == BUCKETS:
            self._verified.note(content)
        return found

    def stated(self) -> Sequence[int]:
        """Returns the counters of all buckets without looking at their MACs: somebody who can change the mark can put
        an older entry back, with its MAC. Raises MarkUnusable if the mark is missing or cut short, and OSError."""
        with self._open(os.O_RDONLY) as descriptor:
            content = os.pread(descriptor, SIZE, 0)
        if len(content) != SIZE:
            raise MarkUnusable(f"{self.path} was changed on disk")
        return _COUNTERS.unpack_from(content, ENTRY)

    def advance(self, counters: Mapping[int, int]) -> None:
        """Writes counters that are larger than those in the mark. Raises OSError and MarkUnusable."""
        with self._open(os.O_RDWR) as descriptor:
            _lock(descriptor)
            there = os.pread(descriptor, SIZE, 0)
            for bucket, counter in counters.items():
                if int.from_bytes(there[_offset(bucket) : _offset(bucket) + 8]) < counter:
                    os.pwrite(descriptor, self._entry(bucket, counter), _offset(bucket))

    def sync(self) -> None:
        """Waits until the mark is on the disk. Raises OSError and MarkUnusable."""
        with self._open(os.O_RDWR) as descriptor:
            os.fdatasync(descriptor)

    def sync_changes(self) -> None:
        """Syncs the mark if any process has written to it since the last time. Raises OSError and MarkUnusable."""
        with self._open(os.O_RDWR) as descriptor:
            written_ns = os.fstat(descriptor).st_mtime_ns
            if written_ns == self._synced_ns:
                return
            settled = time.time_ns() - written_ns >= SETTLED_NS
            os.fdatasync(descriptor)
            self._synced_ns = written_ns if settled else 0

    @contextmanager
    def _open(self, flags: int) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, flags | os.O_CLOEXEC)
        except FileNotFoundError:
            raise MarkUnusable(f"{self.path} is missing") from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _entry(self, bucket: int, counter: int) -> bytes:
        mac = self._macs.derive(b"mark", bucket.to_bytes(8), counter.to_bytes(8))
        return counter.to_bytes(8) + bytes(24) + mac


def largest_counter(path: Path) -> int:
    """Returns the largest counter of a mark, without checking its MAC, which needs the shard's key; 0 if there is no
    mark. Raises OSError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return 0
    return max((int.from_bytes(content[at : at + 8]) for at in range(ENTRY, len(content), ENTRY)), default=0)


def _offset(bucket: int) -> int:
    return ENTRY * (1 + bucket)


def _lock(descriptor: int) -> None:
    """Locks the mark until it is closed. Raises TimeoutError if another process holds the lock for a second."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(0, "another process has locked the mark") from None
            time.sleep(_RETRY_S)
        else:
            return
