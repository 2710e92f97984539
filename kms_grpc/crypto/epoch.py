"""Epochs: counters in a file that all processes of a host map, so that each sees the others' changes."""

from __future__ import annotations

from mmap import mmap

from kms_grpc.crypto._native import ffi, lib

SIZE = 8


class Epoch:
    """The u64 counter at offset 8 * index of a mapped file, in the machine's byte order."""

    __slots__ = ("_address", "_words", "_index")

    def __init__(self, buffer: mmap, index: int) -> None:
        words = ffi.from_buffer("uint64_t[]", buffer, require_writable=True)
        if not 0 <= index < len(words):
            raise IndexError(f"epoch {index} of {len(words)}")
        self._words = words
        self._index = index
        self._address = words + index

    @property
    def value(self) -> int:
        """The current value, read by one aligned load of 8 bytes, which is atomic."""
        return self._words[self._index]  # type: ignore[no-any-return]

    def bump(self) -> None:
        """Adds one atomically, with release order: a process that reads the new value sees all earlier writes."""
        lib.kms_epoch_bump(self._address)
