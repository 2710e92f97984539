"""Java's own HttpClient, which asks to upgrade to HTTP/2. The program is tests/aws/java/Kms.java, run from source."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.aws.conftest import AwsEndpoint
from tests.aws.world import REGION

PROGRAM = Path(__file__).with_name("java") / "Kms.java"
STEPS = ["a key", "encrypted and decrypted", "refused"]


@pytest.mark.timeout(240)
def test_every_step(endpoint: AwsEndpoint) -> None:
    java = shutil.which("java")
    if java is None:
        pytest.skip("Java's HttpClient needs Java: apt-get install default-jdk-headless")
    run = subprocess.run(
        [java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", PROGRAM, endpoint.url, REGION], env=endpoint.variables,
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    versions = ("HTTP_1_1", "HTTP_2")
    assert run.stdout.splitlines() == [f"{version} {step}" for version in versions for step in STEPS], run.stderr
    assert run.returncode == 0
