"""sops, built from its module by the Go of the test extra: a YAML file whose data key is wrapped here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.aws.conftest import BenchData
from tests.aws.readme import ROOT, clients

BUILD_SECONDS = 900
BROKEN_LINES = str.maketrans("", "", " |\n")
"""sops breaks lines wherever they are full."""
SECRETS = "database:\n    user: orders\n    password: correct horse\n"


@pytest.fixture(scope="session")
def sops() -> Path:
    """Its binary; .ci/run has built it beside other stages."""
    path = f"{os.environ['PATH']}:{Path(sys.executable).parent}"
    built = subprocess.run(
        [ROOT / ".ci" / "sops"], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip())


def run(sops: Path, ground: BenchData, folder: Path, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """README's way: the endpoint from the environment."""
    environment = ground.variables | {"PATH": f"{sops.parent}:{os.environ['PATH']}", "HOME": str(folder), **more}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def done(finished: subprocess.CompletedProcess[str]) -> str:
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.timeout(BUILD_SECONDS)
def test_a_file_encrypted_and_decrypted(sops: Path, ground: BenchData, kms: Any, tmp_path: Path) -> None:
    key = kms.create_key()["KeyMetadata"]["Arn"]
    (tmp_path / "secrets.yaml").write_text(SECRETS)
    encrypted = done(run(sops, ground, tmp_path, clients()["tests/aws/test_sops.py"], key_arn=key))
    assert "correct horse" not in encrypted
    assert key in encrypted
    (tmp_path / "secrets.enc.yaml").write_text(encrypted)
    assert done(run(sops, ground, tmp_path, "sops decrypt secrets.enc.yaml")) == SECRETS
    done(run(sops, ground, tmp_path, 'sops set secrets.enc.yaml \'["database"]["user"]\' \'"carts"\''))
    done(run(sops, ground, tmp_path, "sops rotate --in-place secrets.enc.yaml"))
    assert "carts" in done(run(sops, ground, tmp_path, "sops decrypt secrets.enc.yaml"))
    kms.disable_key(KeyId=key)
    refused = run(sops, ground, tmp_path, "sops decrypt secrets.enc.yaml")
    assert refused.returncode != 0
    assert f"{key}isdisabled." in refused.stderr.translate(BROKEN_LINES)


@pytest.mark.timeout(BUILD_SECONDS)
def test_a_context(sops: Path, ground: BenchData, kms: Any, tmp_path: Path) -> None:
    """It stands in the file; changed there, the data key does not open."""
    key = kms.create_key()["KeyMetadata"]["Arn"]
    (tmp_path / "secrets.json").write_text(json.dumps({"password": "correct horse"}))
    encrypted = done(
        run(sops, ground, tmp_path, f"sops encrypt --kms {key} --encryption-context app:shop secrets.json")
    )
    (tmp_path / "good.json").write_text(encrypted)
    assert json.loads(done(run(sops, ground, tmp_path, "sops decrypt good.json")))["password"] == "correct horse"
    (tmp_path / "bad.json").write_text(encrypted.replace('"app": "shop"', '"app": "shoq"'))
    refused = run(sops, ground, tmp_path, "sops decrypt bad.json")
    assert refused.returncode != 0
    assert "InvalidCiphertextException" in refused.stderr.translate(BROKEN_LINES)
