"""Terraform's AWS provider: apply, an empty second plan, and destroy, for keys, aliases and an external key.

The test is skipped if `terraform init` cannot get the provider.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.aws.conftest import AwsEndpoint

PLAN = Path(__file__).with_name("terraform") / "main.tf"
EMPTY = 0
"""Exit code of `plan -detailed-exitcode` for a plan without changes."""


class Terraform:
    """Runs terraform commands in a folder with the plan."""

    def __init__(self, folder: Path, endpoint: AwsEndpoint) -> None:
        shutil.copy(PLAN, folder)
        self._folder = folder
        material = {"TF_VAR_material": base64.b64encode(os.urandom(32)).decode()}
        self._environment = endpoint.variables | material | {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["terraform", *arguments, "-no-color"], cwd=self._folder, env=self._environment, capture_output=True,
            text=True, timeout=150, check=False,
        )  # fmt: skip


@pytest.fixture
def terraform(tmp_path: Path, endpoint: AwsEndpoint) -> Terraform:
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    made = Terraform(tmp_path, endpoint)
    found = made("init", "-input=false")
    if found.returncode != 0:
        pytest.skip(f"the AWS provider is not available: {' '.join(found.stderr.split())[:300]}")
    return made


@pytest.mark.timeout(600)
def test_apply_plan_destroy(terraform: Terraform, kms: Any) -> None:
    applied = terraform("apply", "-auto-approve", "-input=false")

    assert applied.returncode == 0, applied.stderr
    again = terraform("plan", "-detailed-exitcode", "-input=false")
    assert again.returncode == EMPTY, again.stdout
    outputs = json.loads(terraform("output", "-json").stdout)
    keys = [outputs[name]["value"] for name in ("orders", "imported")]
    assert [kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] for key in keys] == ["Enabled", "Enabled"]
    destroyed = terraform("destroy", "-auto-approve", "-input=false")
    assert destroyed.returncode == 0, destroyed.stderr
    states = [kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] for key in keys]
    assert states == ["PendingDeletion", "PendingDeletion"]
