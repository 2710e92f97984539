"""Words: numbers in a file that all processes of a host map, so that each sees the others' changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from mmap import mmap
from typing import Any, Final

from kms_grpc.crypto._native import ffi, lib

SIZE: Final = 8
"""Bytes of a word: a u64 in the machine's byte order."""


class MappedWords:
    """The words of a mapped file, by index."""

    __slots__ = ("in_c", "count")

    def __init__(self, buffer: mmap) -> None:
        self.in_c: Any = ffi.from_buffer("uint64_t[]", buffer, require_writable=True)
        self.count = len(self.in_c)

    def word(self, index: int) -> Word:
        """Raises IndexError."""
        return Word(self, index)

    def read(self, index: int) -> int:
        """Returns a word's value, read with acquire order: the caller then sees all that was written before the word
        was bumped to this value."""
        return int(lib.kms_word_read(self.in_c + index))

    def bump(self, index: int) -> None:
        """Adds one to a word, as Word.bump does."""
        lib.kms_word_add(self.in_c + index, 1)


class Word:
    """One word of a mapped file."""

    __slots__ = ("index", "_address", "_words")

    def __init__(self, words: MappedWords, index: int) -> None:
        if not 0 <= index < words.count:
            raise IndexError(f"word {index} of {words.count}")
        self.index = index
        self._words = words
        self._address = words.in_c + index

    @property
    def value(self) -> int:
        """The current value, read with acquire order."""
        return int(lib.kms_word_read(self._address))

    def reader(self) -> Callable[[], int]:
        """Returns a function that returns the current value, for calls that are made often."""
        return partial(lib.kms_word_read, self._address)

    def bump(self) -> None:
        """Adds one atomically, with release order: a process that reads the new value sees all earlier writes."""
        lib.kms_word_add(self._address, 1)

    def add(self, more: int) -> None:
        """Adds `more` atomically, with release order; a negative number wraps around."""
        lib.kms_word_add(self._address, more % (1 << 64))

    def raise_to(self, least: int) -> None:
        """Makes the word at least `least`, whatever other processes do at the same time."""
        lib.kms_word_raise(self._address, least)
