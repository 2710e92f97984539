"""A virtual machine that is resumed twice from one snapshot: no value is drawn twice.

The controls show that the copies behave as clones do: libcrypto's generator, a pool in the process's memory, repeats
itself in each copy; and where the kernel's generator is cloned as well, so does os.urandom.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CLONES = 2
CONTROL = "control: "
KNOWN = os.uname().machine in ("x86_64", "aarch64")


def has_generator() -> bool:
    """Returns whether the processor has RDRAND or RNDR, as Linux lists it."""
    text = Path("/proc/cpuinfo").read_text()
    return bool({"rdrand", "rng"} & set(text.split()))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cloned") / "cloned_machine.so"
    source = str(HERE / "cloned_machine.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", source, "-o", str(made)], check=True)
    return made


def drawn(library: Path, folder: Path, cloned_kernel: bool) -> list[dict[str, list[str]]]:
    """Returns the values that each copy drew, by their kinds."""
    command = [sys.executable, "-m", "tests.crypto.clone_process", str(folder), str(CLONES)]
    env = {**os.environ, "LD_PRELOAD": str(library), "KMS_TEST_CLONED_KERNEL": str(int(cloned_kernel))}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    copies: list[dict[str, list[str]]] = json.loads(done.stdout)
    return copies


@pytest.mark.skipif("KMS_GRPC_SANITIZED" in os.environ, reason="AddressSanitizer does not survive a bare clone call")
@pytest.mark.skipif(not KNOWN, reason="clone(2) has another number or other arguments here")
@pytest.mark.parametrize(
    "cloned_kernel",
    [
        pytest.param(False, id="kernel reseeded"),
        pytest.param(
            True,
            id="kernel cloned",
            marks=pytest.mark.skipif(not has_generator(), reason="this processor has no generator: not covered there"),
        ),
    ],
)
def test_no_value_is_drawn_twice(library: Path, tmp_path: Path, cloned_kernel: bool) -> None:
    copies = drawn(library, tmp_path, cloned_kernel)
    assert len(copies) == CLONES
    for one, other in itertools.combinations(copies, 2):
        assert one[CONTROL + "libcrypto"] == other[CONTROL + "libcrypto"], "the copies do not behave as clones"
        assert (one[CONTROL + "os.urandom"] == other[CONTROL + "os.urandom"]) == cloned_kernel
        same = {kind: len(set(one[kind]) & set(other[kind])) for kind in one if not kind.startswith(CONTROL)}
        assert same == dict.fromkeys(same, 0)
    for copy in copies:
        repeated = {kind: len(values) - len(set(values)) for kind, values in copy.items()}
        assert repeated == dict.fromkeys(copy, 0)


SOURCES = re.compile(r"\b(RAND_\w+|uuid4|urandom|token_hex|token_bytes|token_urlsafe|getrandbits|randbytes)\(")
ELSEWHERE = {
    "native/random.c": "the one place that draws",
    "native/bench/yardsticks.c": "a measure for the bench",
    "kms_grpc/cli/envelope_example.py": "an example that runs without this package",
}


def test_the_product_draws_random_values_in_one_place() -> None:
    """All else would be drawn from a generator that a cloned machine repeats. The bench's keys protect nothing."""
    files = [path for folder in ("native", "kms_grpc") for path in (ROOT / folder).rglob("*.[cp]*")]
    drawing = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.suffix in (".c", ".py") and SOURCES.search(path.read_text()) and "kms_grpc/bench" not in path.as_posix()
    }
    assert drawing == set(ELSEWHERE)
