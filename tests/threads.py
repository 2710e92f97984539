"""Threads that start at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(threads: int, call: Callable[[int], T]) -> list[T]:
    """Calls `call(number)` in `threads` threads at the same time; returns the results in order.

    Raises the exception of a call that fails.
    """
    start = threading.Barrier(threads)

    def run(number: int) -> T:
        start.wait()
        return call(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))
