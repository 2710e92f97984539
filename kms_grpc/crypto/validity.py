"""The three lists that keep a Permit valid, as bytes that the C core reads.

| offset | bytes | field |
|---|---|---|
| 0 | 4 | E, entries of `equal[]` |
| 4 | 4 | U, entries of `until[]` |
| 8 | 4 | C, entries of `count[]` |
| 12 | 4 | 0 |
| 16 | 16 E | `equal[]`: word (8), value (8). The word has that value |
| 16 + 16 E | 24 U | `until[]`: word (8), clock (8), end (8). The clock has not reached the end |
| 16 + 16 E + 24 U | 8 C | `count[]`: a cell (8) of the worker's counters; a call under the Permit adds one |

All are unsigned, in the machine's byte order, since they never leave the host. A word is an index in the words file
(registry/words.py), a cell an index in the counters file (audit/counters.py). Clock 1 is the shard's time, in ns since
1970: the later of the wall clock and the word's value. Clock 2 is boot time, in ns of CLOCK_BOOTTIME: it must be before
the word's value too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final

from kms_grpc.crypto._native import lib
from kms_grpc.crypto.words import MappedWords

SHARD_TIME: Final[int] = lib.KMS_SHARD_TIME
BOOT_TIME: Final[int] = lib.KMS_BOOT_TIME
FOR_EVER: Final = (1 << 64) - 1
"""An end that no clock reaches."""

Equal = tuple[int, int]
"""(word, value)"""
Until = tuple[int, int, int]
"""(word, clock, end)"""


def lists(equal: Sequence[Equal], until: Sequence[Until], count: Sequence[int]) -> bytes:
    """Returns the lists as bytes."""
    flat = (*chain.from_iterable(equal), *chain.from_iterable(until), *count)
    return struct.pack(f"=4I{len(flat)}Q", len(equal), len(until), len(count), 0, *flat)


def judge(words: MappedWords) -> Callable[[bytes, int, int], bool]:
    """Returns a function of lists, wall clock and boot clock in ns, which tells whether all entries of `equal[]` and
    `until[]` hold now. Words are read with acquire order. It is a closure because every warm call makes one call."""
    holds, in_c, count = lib.kms_lists_hold, words.in_c, words.count
    return lambda packed, wall_ns, boot_ns: holds(in_c, count, packed, len(packed), wall_ns, boot_ns) == 1


def cells(packed: bytes) -> tuple[int, ...]:
    """Returns `count[]`."""
    equal, until, count, _ = struct.unpack_from("=4I", packed)
    return struct.unpack_from(f"={count}Q", packed, 16 + 16 * equal + 24 * until)
