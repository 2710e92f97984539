"""Uninitialised bytes that C fills in place."""

from __future__ import annotations

import sys

import pytest

from kms_grpc.crypto._native import ffi
from kms_grpc.crypto.new_bytes import in_place, new_bytes

LARGE = 5 * 1024 * 1024


@pytest.mark.parametrize("size", [1, 2, 31, 512, 513, LARGE])
def test_written_bytes_are_read(size: int) -> None:
    wanted = bytes(i * 7 % 251 + 1 for i in range(256)) * (size // 256 + 1)
    made = new_bytes(size)
    ffi.memmove(in_place(made), wanted, size)
    assert (type(made), len(made), made) == (bytes, size, wanted[:size])
    assert hash(made) == hash(wanted[:size])


def test_writing_from_an_offset() -> None:
    made = new_bytes(6)
    ffi.memmove(in_place(made, 2), b"cdef", 4)
    ffi.memmove(in_place(made), b"ab", 2)
    assert made == b"abcdef"


@pytest.mark.parametrize("value", [0, 65, 255])
def test_a_single_byte_is_not_the_shared_object(value: int) -> None:
    """CPython shares one object for each single byte; writing to it would change it everywhere."""
    shared = bytes([value])
    made = new_bytes(1)
    in_place(made)[0] = value ^ 1
    assert made is not shared
    assert (made, shared, bytes([value])) == (bytes([value ^ 1]), bytes([value]), shared)


def test_no_bytes_are_the_shared_empty_object() -> None:
    assert new_bytes(0) is b""  # noqa: F632
    in_place(new_bytes(0))


def test_each_call_gives_a_new_object() -> None:
    made = [new_bytes(64) for _ in range(8)]
    assert len({int(ffi.cast("uintptr_t", in_place(one))) for one in made}) == 8
    held = sys.getrefcount(made[0])
    assert held == 2, "only the list and this call refer to it; a further reference would leak"


@pytest.mark.parametrize(("size", "error"), [(-1, ValueError), (sys.maxsize, (MemoryError, OverflowError))])
def test_invalid_sizes_raise(size: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        new_bytes(size)
