"""Suggestions of the shell while a command line is typed: keys, aliases and regions of the server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.served import Served, clean


def suggested(line: str, **variables: str) -> list[str]:
    """Returns what bash is offered for the last word of a line."""
    words = line.split(" ")
    asked = {"_KMS_GRPC_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    command = [sys.executable, "-m", "kms_grpc"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=clean() | variables | asked, timeout=60, check=False
    )
    assert done.stderr == ""
    return [each.removeprefix("plain,") for each in done.stdout.splitlines() if each]


@pytest.fixture
def alias(kms: Run, key: str) -> str:
    name = f"alias/suggested-{key[:8]}"
    assert kms("alias", "create", name, key).code == 0
    return name


def test_keys_and_aliases(server: Served, key: str, alias: str) -> None:
    given = server.variables()
    assert suggested(f"kms-grpc encrypt --key {alias[:-1]}", **given) == [alias]
    assert suggested(f"kms-grpc decrypt --key {key[:-1]}", **given) == [key]
    assert suggested(f"kms-grpc keys describe {alias[:-1]}", **given) == [alias]
    assert suggested(f"kms-grpc alias delete {alias[:-1]}", **given) == [alias]
    assert suggested(f"kms-grpc rotation now {key[:-1]}", **given) == [key]
    assert suggested(f"kms-grpc keys disable {alias[:-1]}", **given) == [], "the command takes no alias"
    assert suggested(f"kms-grpc encrypt --region eu-west-1 --key {alias[:-1]}", **given) == []


def test_regions_and_the_connection_on_the_line(server: Served, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(server.token)
    line = f"kms-grpc keys list --endpoint {server.address} --token-file {token} --region "
    assert suggested(line) == list(server.regions)
    assert suggested(line + "eu-w") == ["eu-west-1"]


@pytest.mark.parametrize("line", ["kms-grpc encrypt --key ", "kms-grpc keys list --region "])
def test_nothing_is_suggested_without_a_server(line: str) -> None:
    assert suggested(line, KMS_GRPC_ENDPOINT="127.0.0.1:1") == []
    assert suggested(line, KMS_GRPC_ENDPOINT="elsewhere") == []
