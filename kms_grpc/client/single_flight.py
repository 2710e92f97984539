"""Single flight: threads that need the same thing at the same time share one call for it.

The first thread, the leader, makes the call. The others wait for its result. The name is that of Go's
golang.org/x/sync/singleflight.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """A call that is under way and that several threads may wait for."""

    def __init__(self) -> None:
        self._finished = threading.Event()
        self._result: Result | None = None
        self._error: Exception | None = None

    def wait(self) -> Result | None:
        """Waits for the call. Returns its result, or None if the leader was interrupted; raises the call's error."""
        self._finished.wait()
        if self._error is not None:
            raise self._error
        return self._result

    def finish(self, result: Result | None = None, error: Exception | None = None) -> None:
        """Hands the result or the error to all threads that wait."""
        self._result, self._error = result, error
        self._finished.set()


class SingleFlightGroup(Generic[Result]):
    """The calls that are under way, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[Hashable, SingleFlight[Result]] = {}

    def join(self, name: Hashable) -> tuple[SingleFlight[Result], bool]:
        """Returns the flight of that name, and whether the calling thread is its leader."""
        with self._lock:
            flight = self._by_name.get(name)
            if flight is not None:
                return flight, False
            flight = self._by_name[name] = SingleFlight()
            return flight, True

    def end(self, name: Hashable) -> None:
        """Forgets the flight of that name: the next thread that joins starts a new one."""
        with self._lock:
            self._by_name.pop(name, None)
