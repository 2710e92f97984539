"""Threads that begin at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(threads: int, call: Callable[[int], T]) -> list[T]:
    """What `call` gave to each of so many threads, which it is told the number of; raises what it raised in one."""
    start = threading.Barrier(threads)

    def run(number: int) -> T:
        start.wait()
        return call(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))
