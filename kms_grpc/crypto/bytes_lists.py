"""Many `bytes` as C reads and writes them: where each is and how long, in one step for all."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from typing import Any, Final

from kms_grpc.crypto._native import ffi, lib

_NUMBER: Final = "Q"


def with_the_gil(name: str, result: Any, *arguments: Any) -> Any:
    """A function of the core that speaks with Python itself: cffi would call it without the GIL."""
    address = int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))
    return ctypes.PYFUNCTYPE(result, *arguments)(address)


_pointer, _object = ctypes.c_void_p, ctypes.py_object
_read = with_the_gil("kms_bytes_read", ctypes.c_int, _object, _pointer, _pointer)
_make = with_the_gil("kms_bytes_make", _object, _pointer, _pointer, ctypes.c_size_t, ctypes.c_int64)


class BytesList:
    """Many `bytes`, held as long as this is: who changes the list that they came from changes nothing here."""

    __slots__ = ("_held", "_places", "lengths", "in_c")

    def __init__(self, items: Sequence[bytes]) -> None:
        """TypeError where one is something else."""
        self._held = tuple(items)
        self.lengths = numbers(bytes(8 * len(self._held)))
        self._places = numbers(self.lengths)
        _read(self._held, _address(self._places), _address(self.lengths))
        self.in_c = (_pointers(self._places), ffi.from_buffer("uint64_t[]", self.lengths), len(self._held))
        """For C: places, lengths, count."""

    def __len__(self) -> int:
        return len(self._held)

    def part(self, start: int, count: int) -> BytesList:
        """So many of them."""
        return self if count == len(self._held) else BytesList(self._held[start : start + count])

    def new(self, more: int) -> tuple[list[bytes], Any]:
        """As many new `bytes`, each by so many longer than its counterpart, and their places for C. What `new_bytes`
        demands holds for each. ValueError where one would be shorter than nothing."""
        places = numbers(self.lengths)
        made = _make(_address(places), _address(self.lengths), len(self._held), more)
        return made, _pointers(places)


def numbers(values: Sequence[int] | bytes) -> array[int]:
    """As C's uint64_t[] holds them; of `bytes`, their bytes."""
    return array(_NUMBER, values)


def _address(array_of_numbers: array[int]) -> int:
    return array_of_numbers.buffer_info()[0]


def _pointers(places: array[int]) -> Any:
    return ffi.from_buffer("uint8_t *[]", places)
