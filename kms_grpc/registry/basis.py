"""The basis of a decision: the words that it relies on, with the values that they had before the registry was read."""

from __future__ import annotations

from collections.abc import Sequence

from kms_grpc.crypto import validity
from kms_grpc.registry.words import RegionWords


class Basis:
    """Collects the words while a decision is made. It relies on configuration and region from its start."""

    __slots__ = ("_words", "_equal")

    def __init__(self, words: RegionWords) -> None:
        self._words = words
        self._equal: dict[int, int] = {}
        self._read(words.configuration.index)
        self._read(words.whole.index)

    def rely_on(self, kind: str, name: str) -> None:
        """Notes a name. Call it before the look-up of that name, which must bring its cache up to date first
        (Shard.catch_up)."""
        self._read(self._words.index_of((kind, name)))

    def lists(self, ends_ns: int = validity.FOR_EVER, cells: Sequence[int] = ()) -> bytes:
        """Returns the lists (crypto/validity.py) that hold as long as the decision does. `ends_ns`: the shard's time at
        which it ends; `cells`: the counters that each call increments."""
        until = [(self._words.fresh_until.index, validity.BOOT_TIME, validity.FOR_EVER)]
        if ends_ns < validity.FOR_EVER:
            until.append((self._words.latest_time.index, validity.SHARD_TIME, ends_ns))
        return validity.lists(tuple(self._equal.items()), until, cells)

    def _read(self, index: int) -> None:
        """Keeps the first value of a word: a name that is looked up twice may have changed in between."""
        if index not in self._equal:
            self._equal[index] = self._words.mapped.read(index)
