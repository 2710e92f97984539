"""The AWS SDK for JavaScript v3 (npm @aws-sdk/client-kms), paginators and error classes included.

The assertions are in tests/aws/javascript/kms.mjs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.aws.conftest import AwsEndpoint
from tests.aws.readme import EXAMPLE_URL, clients
from tests.aws.world import OTHER_REGION, REGION
from tests.languages.packages import installed
from tests.proxies import ForbiddenProxy

JAVASCRIPT = Path(__file__).with_name("javascript")
STEPS = ["a key", "encrypted and decrypted", "paginators", "refusals are its own classes"]


@pytest.fixture(scope="session")
def node_modules() -> Path:
    return installed(JAVASCRIPT, "javascript-sdk")


def test_every_step(endpoint: AwsEndpoint, node_modules: Path, tmp_path: Path) -> None:
    shutil.copy(JAVASCRIPT / "kms.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules)
    command = ["node", "kms.mjs", endpoint.url, REGION, OTHER_REGION]
    environment = {name: value for name, value in endpoint.variables.items() if name != "AWS_ENDPOINT_URL_KMS"}
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    steps = [json.loads(line) for line in run.stdout.splitlines()]
    assert [step for step in steps if not step["done"]] == [], run.stderr
    assert [step["step"] for step in steps] == STEPS, run.stderr
    assert run.returncode == 0


def test_readmes_line(endpoint: AwsEndpoint, node_modules: Path, tmp_path: Path, proxy: ForbiddenProxy) -> None:
    """The client bypasses the proxy."""
    (tmp_path / "node_modules").symlink_to(node_modules)
    made = clients()["tests/aws/test_javascript.py"].replace(EXAMPLE_URL, endpoint.url)
    script = (
        "import { KMSClient, ListKeysCommand } from '@aws-sdk/client-kms'\n"
        f"console.log((await ({made}).send(new ListKeysCommand({{}}))).$metadata.httpStatusCode)"
    )
    run = subprocess.run(
        ["node", "--input-type=module", "-e", script], cwd=tmp_path, env=endpoint.variables | proxy.variables,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.stdout == "200\n", run.stderr
