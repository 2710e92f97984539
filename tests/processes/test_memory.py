"""Memory that was freed goes back to the kernel."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

from kms_grpc.processes import memory
from kms_grpc.processes.memory import GROWTH_BYTES, REST_SECONDS, FreedMemory

START = 100 * 1024 * 1024
GROW_AND_FREE = """
from kms_grpc.processes.memory import FreedMemory, keep_freed_pages, resident_bytes
assert keep_freed_pages()
freed = FreedMemory()
blocks = [bytes(100_000) + b"x" for _ in range(5_000)]
last = blocks.pop()
del blocks
before = resident_bytes()
freed.look().join()
print(before - resident_bytes())
"""


class Process:
    """Resident bytes and seconds, as the test says."""

    def __init__(self) -> None:
        self.bytes, self.now = START, 0.0

    def freed(self) -> FreedMemory:
        return FreedMemory(lambda: self.bytes, lambda: self.now)


def gives_back(freed: FreedMemory) -> bool:
    thread = freed.look()
    if thread is not None:
        thread.join()
    return thread is not None


def test_a_process_that_has_grown_gives_memory_back() -> None:
    process = Process()
    freed = process.freed()
    process.bytes = START + GROWTH_BYTES - 1
    assert not gives_back(freed), "so much is kept, since faulting it in again costs time"
    process.bytes += 1
    assert gives_back(freed)


def test_the_least_that_a_process_has_had_is_the_measure() -> None:
    process = Process()
    freed = process.freed()
    process.bytes = START // 2
    assert not gives_back(freed)
    process.bytes = START // 2 + GROWTH_BYTES
    assert gives_back(freed)


def test_memory_in_use_is_tried_less_and_less_often() -> None:
    process = Process()
    freed = process.freed()
    process.bytes = START + GROWTH_BYTES
    tried = []
    for second in range(200):
        process.now = float(second)
        if gives_back(freed):
            tried.append(second)
    rests = [later - earlier for earlier, later in pairwise(tried)]
    assert rests[0] == REST_SECONDS
    assert rests[1:] == [REST_SECONDS * 2 ** (power + 1) for power in range(len(rests) - 1)]
    assert len(rests) > 2


def test_a_process_without_malloc_trim_goes_on() -> None:
    process = Process()
    freed = process.freed()
    freed._trim = None
    process.bytes = START + GROWTH_BYTES
    assert not gives_back(freed)


def test_freed_blocks_below_one_in_use_go_back() -> None:
    """glibc itself gives back only what lies above the last block in use."""
    done = subprocess.run([sys.executable, "-c", GROW_AND_FREE], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) > memory.GROWTH_BYTES
