"""A counter in memory that all processes of a host map: what changed it, they all see."""

from __future__ import annotations

from mmap import mmap

from kms_grpc.crypto._native import ffi, lib

SIZE = 8


class Epoch:
    """The u64 number `index` of a mapped file; at offset 8 * index, in the machine's byte order."""

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
        """One aligned load of 8 bytes, which no write tears."""
        return self._words[self._index]  # type: ignore[no-any-return]

    def bump(self) -> None:
        """Adds one, atomically: what was written before is seen by whoever sees the new value."""
        lib.kms_epoch_bump(self._address)
