"""Epochs: counters that all processes of a host share."""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from kms_grpc.crypto.epoch import SIZE, Epoch

ROOT = Path(__file__).resolve().parents[2]
BUMP = """
import mmap, sys
from kms_grpc.crypto.epoch import Epoch
with open(sys.argv[1], "r+b") as file:
    mapped = mmap.mmap(file.fileno(), 0)
started, epoch = Epoch(mapped, 0), Epoch(mapped, 1)
started.bump()
while started.value < 2:
    pass
for _ in range(600_000):
    epoch.bump()
"""


@pytest.fixture
def mapped(tmp_path: Path) -> mmap.mmap:
    path = tmp_path / "epochs"
    path.write_bytes(bytes(3 * SIZE))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def test_concurrent_processes_lose_no_bump(mapped: mmap.mmap, tmp_path: Path) -> None:
    """Two processes meet at the first epoch, then bump the second one concurrently."""
    epochs = [Epoch(mapped, index) for index in range(3)]
    command = [sys.executable, "-c", BUMP, str(tmp_path / "epochs")]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert [epoch.value for epoch in epochs] == [2, 1_200_000, 0]
    epochs[2].bump()
    assert [epoch.value for epoch in epochs] == [2, 1_200_000, 1]
    assert mapped[2 * SIZE :] == (1).to_bytes(8, sys.byteorder)


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_the_file_is_an_error(mapped: mmap.mmap, index: int) -> None:
    with pytest.raises(IndexError):
        Epoch(mapped, index)
