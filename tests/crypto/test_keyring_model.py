"""The keyring's lock-free read, in the memory model of C11: a model checker runs native/keyring_slot.h in many orders.

Without any one of its fences a reader gets a mixture of two keys, and the checker finds it; so it would find another.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "native"
RELACY = Path("/usr/include/relacy/relacy.hpp")
FENCE = "    atomic_thread_fence("
ITERATIONS = 100_000  # a missing fence is found within 13,000

pytestmark = [
    pytest.mark.skipif("KMS_GRPC_SANITIZED" in os.environ, reason="the model holds nothing of the sanitized core"),
    pytest.mark.skipif(
        not (RELACY.is_file() and shutil.which("g++")), reason="needs a model checker: apt-get install g++ relacy-dev"
    ),
]


def fences() -> list[int]:
    """Returns the numbers of the lines that are a fence."""
    lines = (NATIVE / "keyring_slot.h").read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if line.startswith(FENCE)]


def test_a_reader_gets_a_whole_key_or_none(tmp_path: Path) -> None:
    program = tmp_path / "keyring_model"
    command = ["g++", "-std=c++17", "-O1", "-w", f"-I{NATIVE}", str(HERE / "keyring_model.cpp"), "-o", str(program)]
    subprocess.run(command, check=True)

    def checked(left_out: int) -> tuple[int, str]:
        run = [str(program), str(ITERATIONS), str(left_out)]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    code, said = checked(0)
    assert code == 0 and f"iterations: {ITERATIONS}" in said, said
    assert len(fences()) == 3
    for fence in fences():
        code, said = checked(fence)
        assert code == 1 and "ASSERT FAILED" in said, f"line {fence} is not missed: {said[-2000:]}"
