"""The AWS SDK for JavaScript v2 (npm aws-sdk). The assertions are in tests/aws/javascript_v2/kms.js.

It signs host, x-amz-date and x-amz-target, and leaves content-type out.
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

JAVASCRIPT = Path(__file__).with_name("javascript_v2")
STEPS = ["a key", "encrypted and decrypted", "pages", "refusals"]


@pytest.fixture(scope="session")
def node_modules() -> Path:
    return installed(JAVASCRIPT, "javascript-sdk-v2")


def node(endpoint: AwsEndpoint, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = endpoint.variables | {"AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE": "1"}
    return subprocess.run(
        ["node", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_every_step(endpoint: AwsEndpoint, node_modules: Path, tmp_path: Path) -> None:
    shutil.copy(JAVASCRIPT / "kms.js", tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules)
    run = node(endpoint, tmp_path, "kms.js", endpoint.url, REGION, OTHER_REGION)
    steps = [json.loads(line) for line in run.stdout.splitlines()]
    assert [step for step in steps if not step["done"]] == [], run.stderr
    assert [step["step"] for step in steps] == STEPS, run.stderr
    assert run.returncode == 0


def test_readmes_line(endpoint: AwsEndpoint, node_modules: Path, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(node_modules)
    made = clients()["tests/aws/test_javascript_v2.py"].replace(EXAMPLE_URL, endpoint.url)
    script = (
        "const AWS = require('aws-sdk');\n"
        f"({made}).listKeys({{}}, (error, answer) => console.log(error ?? Array.isArray(answer.Keys)))"
    )
    run = node(endpoint, tmp_path, "-e", script)
    assert run.stdout == "true\n", run.stderr
