"""The budget of a data key: how many records, bytes and seconds it has left.

native/data_key_budget.c counts atomically, so threads that seal at the same time need no lock. Times are seconds of the
caller's clock. Counts are 0 to 2^63 - 1.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.bytes_lists import numbers

UNBOUNDED: Final = (1 << 63) - 1
"""A number of messages or bytes that is never reached."""


class Counter:
    """A counter of the records that the budgets of a cache granted."""

    __slots__ = ("in_c",)

    def __init__(self) -> None:
        self.in_c = ffi.new("uint64_t *")

    @property
    def value(self) -> int:
        return int(self.in_c[0])


class DataKeyBudget:
    """The budget of one data key. It grants nothing before `begin`."""

    __slots__ = ("in_c", "_data_key", "_counter")

    def __init__(self, data_key: Any) -> None:
        """`data_key` is a kms_data_key_t, which this object keeps alive."""
        self._data_key = data_key
        self.in_c = ffi.addressof(data_key, "budget")

    def begin(self, counter: Counter, ends: float, messages: int = UNBOUNDED, size: int = UNBOUNDED) -> None:
        """Sets the budget: `messages` records with `size` bytes in all, until the time `ends`."""
        self._counter = counter
        lib.kms_budget_begin(self.in_c, counter.in_c, messages, size, ends)

    def allow(self, until: float, messages: int = 0, size: int = 0) -> None:
        """Sets the bounds of `record.seal_within`: it must run before `until`, and leave `messages` and `size`."""
        lib.kms_budget_allow(self.in_c, until, messages, size)

    def take(self, now: float, size: int) -> bool:
        """Takes one record of `size` bytes. Returns False if the budget does not allow it."""
        return bool(lib.kms_budget_take(self.in_c, now, size))

    def grant(self, now: float, sizes: Sequence[int]) -> int:
        """Takes as many records of these sizes, from the first on, as the budget allows. Returns their number."""
        lengths = sizes if isinstance(sizes, (array, memoryview)) else numbers(sizes)
        return int(lib.kms_budget_grant(self.in_c, now, ffi.from_buffer("uint64_t[]", lengths), len(lengths)))

    @property
    def messages(self) -> int:
        """Remaining records."""
        return int(self.in_c.messages)

    @property
    def bytes(self) -> int:
        """Remaining bytes."""
        return int(self.in_c.bytes)

    @property
    def last(self) -> int:
        """The value of the cache's counter after the last record of this key."""
        return int(self.in_c.last)
