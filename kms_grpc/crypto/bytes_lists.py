"""Sequences of `bytes` for C: one call gives the addresses and lengths of all elements."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from typing import Any, Final

from kms_grpc.crypto._native import ffi, lib

_NUMBER: Final = "Q"


def with_the_gil(name: str, result: Any, *arguments: Any) -> Any:
    """Returns a function of the core that uses Python's C API. ctypes calls it with the GIL held; cffi would not."""
    address = int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))
    return ctypes.PYFUNCTYPE(result, *arguments)(address)


_pointer, _object = ctypes.c_void_p, ctypes.py_object
_read = with_the_gil("kms_bytes_read", ctypes.c_int, _object, _pointer, _pointer)
_make = with_the_gil("kms_bytes_make", _object, _pointer, _pointer, ctypes.c_size_t, ctypes.c_int64)


class BytesList:
    """An immutable copy of a sequence of `bytes`, with the arrays that C needs to read them."""

    __slots__ = ("_held", "_places", "lengths", "in_c")

    def __init__(self, items: Sequence[bytes]) -> None:
        """Raises TypeError if an element is not `bytes`."""
        self._held = tuple(items)
        self.lengths = numbers(bytes(8 * len(self._held)))
        self._places = numbers(self.lengths)
        _read(self._held, _address(self._places), _address(self.lengths))
        self.in_c = (_pointers(self._places), ffi.from_buffer("uint64_t[]", self.lengths), len(self._held))
        """Arguments for C: addresses, lengths, count."""

    def __len__(self) -> int:
        return len(self._held)

    def part(self, start: int, count: int) -> BytesList:
        """Returns the `count` elements from `start` on."""
        return self if count == len(self._held) else BytesList(self._held[start : start + count])

    def new(self, more: int) -> tuple[list[bytes], Any]:
        """Returns uninitialised `bytes`, each `more` bytes longer than its counterpart, and their addresses for C.

        The rules of `new_bytes` hold for each. Raises ValueError for a negative length.
        """
        places = numbers(self.lengths)
        made = _make(_address(places), _address(self.lengths), len(self._held), more)
        return made, _pointers(places)


def numbers(values: Sequence[int] | bytes) -> array[int]:
    """Returns an array like C's uint64_t[], made from integers or from the raw bytes of such an array."""
    return array(_NUMBER, values)


def _address(array_of_numbers: array[int]) -> int:
    return array_of_numbers.buffer_info()[0]


def _pointers(places: array[int]) -> Any:
    return ffi.from_buffer("uint8_t *[]", places)
