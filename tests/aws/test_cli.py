"""The aws CLI: README's walk, word by word; and how it is told the endpoint otherwise."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.aws.conftest import BenchData
from tests.aws.readme import EXAMPLE_URL, ROOT, clients, walk

REFUSALS = [
    "IncorrectKeyException", "InvalidCiphertextException", "AccessDeniedException", "NotFoundException",
    "DisabledException", "KMSInvalidStateException", "KMSInvalidStateException",
]  # fmt: skip


@pytest.mark.timeout(400)
def test_the_walk(ground: BenchData, tmp_path: Path) -> None:
    (tmp_path / "password.txt").write_text("correct horse")
    (tmp_path / "big.tar").write_bytes(bytes(range(256)) * 400)
    script = walk()
    assert script.count(EXAMPLE_URL) == 1
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace(EXAMPLE_URL, ground.url)],
        cwd=tmp_path, env=ground.variables, capture_output=True, text=True, timeout=380, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.findall(r"refused: (\w+)", done.stdout) == REFUSALS
    assert done.stdout.count("correct horse") == 2
    assert b"correct horse" not in (tmp_path / "password.kms").read_bytes()
    assert (tmp_path / "big.tar.enc").read_bytes()[16:] != (tmp_path / "big.tar").read_bytes()


def test_by_its_own_option(ground: BenchData) -> None:
    """README's line, and no endpoint in the environment."""
    environment = ground.variables
    del environment["AWS_ENDPOINT_URL_KMS"]
    command = clients()["tests/aws/test_cli.py"].replace(EXAMPLE_URL, ground.url)
    listed = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert listed.returncode == 0, listed.stderr
    assert isinstance(json.loads(listed.stdout)["Keys"], list)


def test_every_client_of_readme_has_its_test() -> None:
    assert {f"tests/aws/test_{name}.py" for name in (
        "boto3", "cli", "encryption_sdk", "s3_encryption", "javascript", "sops"
    )} == set(clients())  # fmt: skip
    assert all((ROOT / path).exists() for path in clients())
