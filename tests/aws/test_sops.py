"""sops with data keys from this service. It is built from its Go module with the Go of the test extra."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.aws.conftest import AwsEndpoint
from tests.aws.readme import ROOT, clients
from tests.proxies import ForbiddenProxy

BUILD_SECONDS = 900
BROKEN_LINES = str.maketrans("", "", " |\n")
"""sops wraps lines at any character; removing these characters undoes it."""
SECRETS = "database:\n    user: orders\n    password: correct horse\n"


@pytest.fixture(scope="session")
def sops() -> Path:
    """The path of its binary, which .ci/run has built beforehand."""
    path = f"{os.environ['PATH']}:{Path(sys.executable).parent}"
    built = subprocess.run(
        [ROOT / ".ci" / "sops"], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip())


def run(sops: Path, endpoint: AwsEndpoint, folder: Path, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the endpoint in the environment, as README describes."""
    environment = endpoint.variables | {"PATH": f"{sops.parent}:{os.environ['PATH']}", "HOME": str(folder), **more}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def done(finished: subprocess.CompletedProcess[str]) -> str:
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.timeout(BUILD_SECONDS)
def test_round_trip(sops: Path, endpoint: AwsEndpoint, kms: Any, tmp_path: Path, proxy: ForbiddenProxy) -> None:
    """README's line bypasses the proxy."""
    key = kms.create_key()["KeyMetadata"]["Arn"]
    (tmp_path / "secrets.yaml").write_text(SECRETS)
    encrypted = done(run(sops, endpoint, tmp_path, clients()["tests/aws/test_sops.py"], key_arn=key, **proxy.variables))
    assert "correct horse" not in encrypted
    assert key in encrypted
    (tmp_path / "secrets.enc.yaml").write_text(encrypted)
    assert done(run(sops, endpoint, tmp_path, "sops decrypt secrets.enc.yaml")) == SECRETS
    done(run(sops, endpoint, tmp_path, 'sops set secrets.enc.yaml \'["database"]["user"]\' \'"carts"\''))
    done(run(sops, endpoint, tmp_path, "sops rotate --in-place secrets.enc.yaml"))
    assert "carts" in done(run(sops, endpoint, tmp_path, "sops decrypt secrets.enc.yaml"))
    kms.disable_key(KeyId=key)
    refused = run(sops, endpoint, tmp_path, "sops decrypt secrets.enc.yaml")
    assert refused.returncode != 0
    assert f"{key}isdisabled." in refused.stderr.translate(BROKEN_LINES)


@pytest.mark.timeout(BUILD_SECONDS)
def test_an_encryption_context(sops: Path, endpoint: AwsEndpoint, kms: Any, tmp_path: Path) -> None:
    """The context is in the file. If it is changed there, the data key cannot be decrypted."""
    key = kms.create_key()["KeyMetadata"]["Arn"]
    (tmp_path / "secrets.json").write_text(json.dumps({"password": "correct horse"}))
    encrypted = done(
        run(sops, endpoint, tmp_path, f"sops encrypt --kms {key} --encryption-context app:shop secrets.json")
    )
    (tmp_path / "good.json").write_text(encrypted)
    assert json.loads(done(run(sops, endpoint, tmp_path, "sops decrypt good.json")))["password"] == "correct horse"
    (tmp_path / "bad.json").write_text(encrypted.replace('"app": "shop"', '"app": "shoq"'))
    refused = run(sops, endpoint, tmp_path, "sops decrypt bad.json")
    assert refused.returncode != 0
    assert "InvalidCiphertextException" in refused.stderr.translate(BROKEN_LINES)
