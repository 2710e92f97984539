"""The aws CLI: README's example word by word, and the option for the endpoint."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.aws.conftest import AwsEndpoint
from tests.aws.readme import EXAMPLE_URL, ROOT, clients, walk
from tests.proxies import ForbiddenProxy

REFUSALS = [
    "IncorrectKeyException", "InvalidCiphertextException", "AccessDeniedException", "NotFoundException",
    "DisabledException", "KMSInvalidStateException", "KMSInvalidStateException",
]  # fmt: skip


@pytest.mark.timeout(400)
def test_readmes_example(endpoint: AwsEndpoint, tmp_path: Path, proxy: ForbiddenProxy) -> None:
    """The session goes round the proxy."""
    (tmp_path / "password.txt").write_text("correct horse")
    (tmp_path / "big.tar").write_bytes(bytes(range(256)) * 400)
    script = walk()
    assert script.count(EXAMPLE_URL) == 1
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace(EXAMPLE_URL, endpoint.url)],
        cwd=tmp_path, env=endpoint.variables | proxy.variables, capture_output=True, text=True, timeout=380,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.findall(r"refused: (\w+)", done.stdout) == REFUSALS
    assert done.stdout.count("correct horse") == 2
    assert b"correct horse" not in (tmp_path / "password.kms").read_bytes()
    assert (tmp_path / "big.tar.enc").read_bytes()[16:] != (tmp_path / "big.tar").read_bytes()


def test_the_endpoint_as_an_option(endpoint: AwsEndpoint, proxy: ForbiddenProxy) -> None:
    """README's line works without an endpoint in the environment, and goes round the proxy."""
    environment = endpoint.variables | proxy.variables
    del environment["AWS_ENDPOINT_URL_KMS"]
    command = clients()["tests/aws/test_cli.py"].replace(EXAMPLE_URL, endpoint.url)
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
