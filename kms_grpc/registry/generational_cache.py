"""A bounded cache whose warm look-up is one dictionary get.

Two generations: what is put or found again in the old one goes to the young one; when the young one is full it becomes
the old one, and what was left in the old one is dropped. So entries used lately stay, and no hit is written down.
Reading `warm` needs no lock; all else is for the holder of the owner's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def _one(_: object) -> int:
    return 1


class GenerationalCache(Generic[K, V]):
    """At most `capacity` units of what `weigh` says of the values; `dropped` is told of each that leaves."""

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
        """What was used lately."""
        return self._young.get(key)

    def get(self, key: K) -> V | None:
        """What is cached; found in the old generation it comes back to the young one."""
        value = self._young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self._add(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        self.drop(key)
        self._add(key, value)

    def drop(self, key: K) -> None:
        """Forget one entry, if it is there."""
        if (value := self._young.pop(key, None)) is not None:
            self._weight -= self._weigh(value)
            self._tell(((key, value),))
        if (value := self._old.pop(key, None)) is not None:
            self._tell(((key, value),))

    def drop_old(self) -> None:
        """Forget what was not used lately; where nothing is old, everything."""
        if not self._old:
            self._turn()
        leaving, self._old = self._old, {}
        self._tell(leaving.items())

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
        self._tell(leaving.items())

    def _tell(self, leaving: Iterable[tuple[K, V]]) -> None:
        if self._dropped is not None:
            for key, value in leaving:
                self._dropped(key, value)
