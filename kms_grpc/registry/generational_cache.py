"""A bounded cache whose warm look-up is one dictionary get.

It has two generations. An entry that is put, or found in the old generation, goes to the young one. When the young one
is full, it becomes the old one, and the entries of the former old one are dropped. So entries that were used lately
stay, and a hit writes nothing. `warm` needs no lock; callers of all other methods must hold the owner's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def _one(_: object) -> int:
    return 1


class GenerationalCache(Generic[K, V]):
    """Holds entries up to a total weight of `capacity`; `weigh` gives the weight of a value (default 1). `dropped` is
    called for each entry that leaves."""

    def __init__(
        self, capacity: int, *, weigh: Callable[[V], int] = _one, dropped: Callable[[K, V], None] | None = None
    ) -> None:
        self._half = max(1, capacity // 2)
        self._weigh = weigh
        self._dropped = dropped
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._weight = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def warm(self, key: K) -> V | None:
        """Returns a value of the young generation."""
        return self._young.get(key)

    def get(self, key: K) -> V | None:
        """Returns a cached value; moves it from the old generation to the young one."""
        value = self._young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self._add(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        self.drop(key)
        self._add(key, value)

    def drop(self, key: K) -> None:
        """Drops one entry if it is cached."""
        if (value := self._young.pop(key, None)) is not None:
            self._weight -= self._weigh(value)
            self._report(((key, value),))
        if (value := self._old.pop(key, None)) is not None:
            self._report(((key, value),))

    def drop_old(self) -> None:
        """Drops the old generation, or everything if that is empty."""
        if not self._old:
            self._turn()
        leaving, self._old = self._old, {}
        self._report(leaving.items())

    def clear(self) -> None:
        self._turn()
        self._turn()

    def _add(self, key: K, value: V) -> None:
        weight = self._weigh(value)
        if self._young and self._weight + weight > self._half:
            self._turn()
        self._young[key] = value
        self._weight += weight

    def _turn(self) -> None:
        leaving, self._old = self._old, self._young
        self._young, self._weight = {}, 0
        self._report(leaving.items())

    def _report(self, leaving: Iterable[tuple[K, V]]) -> None:
        if self._dropped is not None:
            for key, value in leaving:
                self._dropped(key, value)
