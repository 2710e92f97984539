"""One call at a time for each thing that is asked for: who comes second waits for what the first one gets."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class SingleFlight(Generic[Answer]):
    """A call under way."""

    def __init__(self) -> None:
        self._landed = threading.Event()
        self._answer: Answer | None = None
        self._error: Exception | None = None

    def wait(self) -> Answer | None:
        """What the call gave, or its error raised; None where whoever made it gave up: ask again."""
        self._landed.wait()
        if self._error is not None:
            raise self._error
        return self._answer

    def land(self, answer: Answer | None = None, error: Exception | None = None) -> None:
        self._answer, self._error = answer, error
        self._landed.set()


class SingleFlights(Generic[Answer]):
    """The calls under way, by what they are for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[Hashable, SingleFlight[Answer]] = {}

    def join(self, name: Hashable) -> tuple[SingleFlight[Answer], bool]:
        """The flight, and whether it is the caller's to fly."""
        with self._lock:
            flight = self._by_name.get(name)
            if flight is not None:
                return flight, False
            flight = self._by_name[name] = SingleFlight()
            return flight, True

    def end(self, name: Hashable) -> None:
        """Who comes now flies anew."""
        with self._lock:
            self._by_name.pop(name, None)
