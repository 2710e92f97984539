"""What a data key may still be used for: records, bytes and time, counted in C (native/data_key_budget.c), so that
threads that seal at the same time need no lock.

Times are seconds by the caller's clock. Counts are 0 to 2^63 - 1.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.bytes_lists import numbers

UNBOUNDED: Final = (1 << 63) - 1
"""Messages or bytes that nobody uses up."""


class Counter:
    """How many records the data keys of a cache were granted."""

    __slots__ = ("in_c",)

    def __init__(self) -> None:
        self.in_c = ffi.new("uint64_t *")

    @property
    def value(self) -> int:
        return int(self.in_c[0])


class DataKeyBudget:
    """Of one data key."""

    __slots__ = ("in_c", "_data_key", "_counter")

    def __init__(self, data_key: Any) -> None:
        """`data_key`: a kms_data_key_t, which lives as long as this."""
        self._data_key = data_key
        self.in_c = ffi.addressof(data_key, "budget")

    def begin(self, counter: Counter, ends: float, messages: int = UNBOUNDED, size: int = UNBOUNDED) -> None:
        """From now on until `ends`, for so many records of so many bytes together."""
        self._counter = counter
        lib.kms_budget_begin(self.in_c, counter.in_c, messages, size, ends)

    def allow(self, until: float, messages: int = 0, size: int = 0) -> None:
        """Without asking, `record.seal_within` may take until then, and as long as so many stay."""
        lib.kms_budget_allow(self.in_c, until, messages, size)

    def take(self, now: float, size: int) -> bool:
        """One record of so many bytes, if it is allowed."""
        return bool(lib.kms_budget_take(self.in_c, now, size))

    def grant(self, now: float, sizes: Sequence[int]) -> int:
        """So many of these records, from the first on, as are allowed."""
        lengths = sizes if isinstance(sizes, (array, memoryview)) else numbers(sizes)
        return int(lib.kms_budget_grant(self.in_c, now, ffi.from_buffer("uint64_t[]", lengths), len(lengths)))

    @property
    def messages(self) -> int:
        """Left."""
        return int(self.in_c.messages)

    @property
    def bytes(self) -> int:
        """Left."""
        return int(self.in_c.bytes)

    @property
    def last(self) -> int:
        """What the counter was after the last record."""
        return int(self.in_c.last)
