"""Freed memory goes back to the kernel once it is much."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from kms_grpc.processes.memory import GROWTH_BYTES, LONGEST_REST_SECONDS, REST_SECONDS, WORTH_BYTES, FreedMemory

MIB = 1 << 20
IN_USE = 80 * MIB
MUCH = IN_USE + GROWTH_BYTES

FREED_IN_BETWEEN = """
import ctypes
from kms_grpc.processes import memory

memory.keep_freed_pages()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
seconds = [0.0]
freed = memory.FreedMemory(clock=lambda: seconds[0])
blocks = [libc.malloc(1 << 20) for _ in range(400)]
for block in blocks:
    ctypes.memset(block, 1, 1 << 20)
for block in blocks[:-1]:  # the last one stays, so free() itself gives nothing back
    libc.free(block)
kept = memory.resident_bytes()
seconds[0] = 60.0
freed.look().join()
print((kept - memory.resident_bytes()) >> 20)
"""


def test_memory_that_free_keeps_is_given_back_to_the_kernel() -> None:
    """A worker once grew from 81 to 903 MB and stayed that large."""
    done = subprocess.run([sys.executable, "-c", FREED_IN_BETWEEN], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 350


class Watched:
    """A FreedMemory whose process uses as much memory as the test sets."""

    def __init__(self, come_back: Callable[[int], int]) -> None:
        self.resident, self.now, self.trims = IN_USE, 0.0, 0
        self.come_back = come_back
        self.freed = FreedMemory(lambda: self.resident, lambda: self.now)
        self.freed._trim = self._trim

    def _trim(self, pad: int) -> None:
        self.trims += 1
        self.resident = self.come_back(self.resident)

    def run(self, seconds: float) -> int:
        """Looks once a second; returns how often memory was given back."""
        before = self.trims
        for _ in range(int(seconds)):
            self.now += 1
            if (thread := self.freed.look()) is not None:
                thread.join()
        return self.trims - before


@pytest.mark.parametrize(
    ("resident", "trims"),
    [
        pytest.param(MUCH - 1, 0, id="a little more is kept, for the next large message"),
        pytest.param(MUCH, 1, id="much is given back, once"),
    ],
)
def test_memory_is_given_back_when_it_is_much(resident: int, trims: int) -> None:
    watched = Watched(lambda _: IN_USE)
    watched.run(REST_SECONDS)
    watched.resident = resident
    assert watched.run(100) == trims


def test_memory_in_use_is_left_alone() -> None:
    """If nothing comes back, memory is trimmed ever less often; if something does, as often as at first."""
    watched = Watched(lambda resident: resident - WORTH_BYTES + 1)
    watched.resident = 100 * MUCH
    assert watched.run(2 * LONGEST_REST_SECONDS) <= 9
    watched.come_back = lambda resident: resident - WORTH_BYTES
    watched.run(2 * LONGEST_REST_SECONDS)
    assert watched.run(10 * REST_SECONDS) in (9, 10)
