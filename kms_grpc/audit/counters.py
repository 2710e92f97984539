"""Counters of one worker, in memory that other processes can read.

The counters are u64 in native order, in a file that the supervisor makes and the worker maps, so that /metrics shows
all workers and a restarted worker counts on. Each operation has one block; CODES is the number of OUTCOMES:

| offset (u64) | meaning |
|---|---|
| 0 … CODES-1 | calls by outcome: 0 is OK, then one per error code of `OUTCOMES` |
| CODES … CODES+BUCKETS-1 | calls by duration: bucket b holds those under 2^b µs, the last one the rest |
| CODES+BUCKETS | sum of durations, ns |
| CODES+BUCKETS+1 | unexpected errors on the warm path |

Increments are plain `view[i] += 1`: CPython does not switch threads between the load and the store of such a line.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kms_grpc import errors
from kms_grpc.zero_file import make_zero_file

OUTCOMES: Final = ("OK", *sorted(error.__name__ for error in errors.KMSError.__subclasses__()))
BUCKETS: Final = 24
BLOCK: Final = len(OUTCOMES) + BUCKETS + 2
_DURATIONS: Final = len(OUTCOMES)
_LAST: Final = BUCKETS - 1
_INDEX: Final = {name: index for index, name in enumerate(OUTCOMES)}


def size(operations: Sequence[str]) -> int:
    """Returns the size of a counter file in bytes."""
    return 8 * BLOCK * len(operations)


def create(path: Path, operations: Sequence[str]) -> None:
    """Makes the file of a worker, all zero."""
    make_zero_file(path, size(operations))


class Counters:
    """The counters of one worker, by operation index (the order of `operations`)."""

    def __init__(self, buffer: mmap.mmap | bytearray, operations: Sequence[str]) -> None:
        self._cells = memoryview(buffer).cast("Q")
        self._offsets = {name: index * BLOCK for index, name in enumerate(operations)}
        self.operations = tuple(operations)

    @classmethod
    def open(cls, path: Path, operations: Sequence[str]) -> Counters:
        with path.open("r+b") as file:
            return cls(mmap.mmap(file.fileno(), size(operations)), operations)

    @classmethod
    def private(cls, operations: Sequence[str]) -> Counters:
        """Returns counters that no other process reads, for a worker without a supervisor and for tests."""
        return cls(bytearray(size(operations)), operations)

    def cell(self, operation: str, outcome: str) -> int:
        """Returns the index of the u64 that counts the calls of that outcome."""
        return self._offsets[operation] + _INDEX[outcome]

    def count(self, operation: str, outcome: str, duration_ns: int) -> None:
        """Counts one call that has ended. `outcome` is OK or an error code."""
        self.count_warm(operation, (self._offsets[operation] + _INDEX[outcome],), duration_ns)

    def count_warm(self, operation: str, counted: Sequence[int], duration_ns: int) -> None:
        """Counts one call in these cells, and its duration."""
        cells, durations = self._cells, self._offsets[operation] + _DURATIONS
        bucket = (duration_ns // 1000).bit_length()
        for cell in counted:
            cells[cell] += 1
        cells[durations + (bucket if bucket < BUCKETS else _LAST)] += 1
        cells[durations + BUCKETS] += duration_ns

    def count_warm_error(self, operation: str) -> int:
        """Counts an unexpected error of the warm path, and returns the operation's number of them. The call itself was
        then executed, and is counted by its outcome."""
        cell = self._offsets[operation] + len(OUTCOMES) + BUCKETS + 1
        self._cells[cell] += 1
        return self._cells[cell]

    def warm_errors(self) -> int:
        """Returns the number of unexpected errors on the warm path, of all operations."""
        return sum(self._cells[offset + len(OUTCOMES) + BUCKETS + 1] for offset in self._offsets.values())

    def calls(self, operation: str) -> dict[str, int]:
        """Returns the number of calls by outcome, for the outcomes that have occurred."""
        offset = self._offsets[operation]
        return {name: self._cells[offset + i] for i, name in enumerate(OUTCOMES) if self._cells[offset + i]}

    def durations(self, operation: str) -> tuple[list[int], int]:
        """Returns (calls per bucket, sum of durations in ns)."""
        start = self._offsets[operation] + len(OUTCOMES)
        return self._cells[start : start + BUCKETS].tolist(), self._cells[start + BUCKETS]
