"""The AWS SDK for Go v2. The program is tests/aws/go/main.go, built with the Go of the test extra."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.aws.conftest import AwsEndpoint
from tests.aws.world import OTHER_REGION, REGION
from tests.languages.packages import cache

PROGRAM = Path(__file__).with_name("go")
BUILD_SECONDS = 600
STEPS = ["a key", "encrypted and decrypted", "paginators", "refusals are its own types"]


@pytest.fixture(scope="session")
def program() -> Path:
    """The path of the built program, which is kept for each content of its files. It shares modules with sops."""
    sources = sorted(file for file in PROGRAM.iterdir() if file.name in ("go.mod", "go.sum", "main.go"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16]
    kept = cache() / f"go-sdk-{digest}"
    if not kept.exists():
        folder = Path(tempfile.mkdtemp(dir=cache()))
        path = f"{os.environ['PATH']}:{Path(sys.executable).parent}"
        built = subprocess.run(
            [shutil.which("go", path=path) or "go", "build", "-trimpath", "-o", folder / "kmsclient", "."], cwd=PROGRAM,
            env=os.environ | {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert built.returncode == 0, built.stderr
        (folder / "kmsclient").replace(kept)
        folder.rmdir()
    return kept


@pytest.mark.timeout(BUILD_SECONDS)
def test_every_step(endpoint: AwsEndpoint, program: Path) -> None:
    run = subprocess.run(
        [program, endpoint.url, REGION, OTHER_REGION], env=endpoint.variables, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    steps = [json.loads(line) for line in run.stdout.splitlines()]
    assert [step for step in steps if not step["done"]] == [], run.stderr
    assert [step["step"] for step in steps] == STEPS, run.stderr
