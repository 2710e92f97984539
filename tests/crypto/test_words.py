"""Words: numbers that all processes of a host share, and the lists that are read from them."""

from __future__ import annotations

import json
import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from kms_grpc.crypto.validity import BOOT_TIME, FOR_EVER, SHARD_TIME, cells, hold, lists
from kms_grpc.crypto.words import SIZE, MappedWords

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "tests" / "vectors" / "permit_lists_v1.json").read_text())
BUMP = """
import mmap, sys
from kms_grpc.crypto.words import MappedWords
with open(sys.argv[1], "r+b") as file:
    mapped = MappedWords(mmap.mmap(file.fileno(), 0))
started, counted, highest = (mapped.word(index) for index in range(3))
started.bump()
while started.value < 2:
    pass
for number in range(300_000):
    counted.bump()
    highest.raise_to(number)
"""


@pytest.fixture
def mapped(tmp_path: Path) -> MappedWords:
    path = tmp_path / "words"
    path.write_bytes(bytes(4 * SIZE))
    with path.open("r+b") as file:
        return MappedWords(mmap.mmap(file.fileno(), 0))


def test_concurrent_processes_lose_no_change(mapped: MappedWords, tmp_path: Path) -> None:
    """Two processes meet at the first word, then bump the second and raise the third concurrently."""
    command = [sys.executable, "-c", BUMP, str(tmp_path / "words")]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert [mapped.read(index) for index in range(4)] == [2, 600_000, 299_999, 0]
    mapped.word(3).bump()
    mapped.word(3).add(-2)
    assert mapped.word(3).value == FOR_EVER
    assert (tmp_path / "words").read_bytes()[3 * SIZE :] == b"\xff" * 8


def test_a_word_is_only_ever_raised(mapped: MappedWords) -> None:
    word = mapped.word(0)
    for value, expected in ((7, 7), (3, 7), (FOR_EVER, FOR_EVER), (8, FOR_EVER)):
        word.raise_to(value)
        assert word.value == expected


@pytest.mark.parametrize("index", [-1, 4])
def test_an_index_outside_the_file_is_an_error(mapped: MappedWords, index: int) -> None:
    with pytest.raises(IndexError):
        mapped.word(index)


# --- the lists of a Permit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["lists"], ids=lambda vector: vector["name"])
def test_lists_have_their_bytes(vector: dict[str, list[list[int]]]) -> None:
    """The vectors are little-endian; the lists are in the machine's byte order, and never leave the host."""
    packed = lists([*map(tuple, vector["equal"])], [*map(tuple, vector["until"])], vector["count"])  # type: ignore[arg-type]
    if sys.byteorder == "little":
        assert packed.hex() == vector["bytes"]
    assert cells(packed) == tuple(vector["count"])


@pytest.mark.parametrize("case", VECTORS["judged"], ids=lambda case: case["name"])
def test_lists_hold_or_not(mapped: MappedWords, case: dict[str, list[list[int]]]) -> None:
    for index, value in enumerate(VECTORS["words"]):
        mapped.word(index).add(value)
    packed = lists([*map(tuple, case["equal"])], [*map(tuple, case["until"])], (5,))  # type: ignore[arg-type]
    assert hold(mapped, packed, VECTORS["wall_ns"], VECTORS["boot_ns"]) is case["holds"]


def test_malformed_lists_do_not_hold(mapped: MappedWords) -> None:
    good = lists([(0, 0)], [(1, SHARD_TIME, 10), (2, BOOT_TIME, 10)], [1])
    mapped.word(2).add(10)
    assert hold(mapped, good, 5, 5)
    for end in range(len(good)):
        assert not hold(mapped, good[:end], 5, 5)
    assert not hold(mapped, good + b"\0", 5, 5)
    for at in (0, 3, 4, 7, 8, 11, 12, 15):
        assert not hold(mapped, good[:at] + bytes([good[at] ^ 0x81]) + good[at + 1 :], 5, 5)
    for word in (4, FOR_EVER):
        assert not hold(mapped, lists([(word, 0)], [], []), 5, 5)
        assert not hold(mapped, lists([], [(word, SHARD_TIME, FOR_EVER)], []), 5, 5)
