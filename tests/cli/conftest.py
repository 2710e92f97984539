"""Fixtures that run `kms-grpc` in the process of the test, which is fast, and return its exit code and output."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from kms_grpc.cli.main import main
from tests.served import Served


@dataclass(frozen=True)
class Ran:
    """The exit code and the output of a command."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs a command: `run("keys", "list", stdin=b"", variables={…})`. No other KMS_GRPC_ variables are set."""

    def ran(*arguments: object, stdin: bytes = b"", variables: Mapping[str, str] | None = None) -> Ran:
        for name in [name for name in os.environ if name.startswith("KMS_GRPC_")]:
            monkeypatch.delenv(name)
        for name, value in (variables or {}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        code = main([str(argument) for argument in arguments])
        seen = capfdbinary.readouterr()
        return Ran(code, seen.out, seen.err.decode())

    return ran


@pytest.fixture
def kms(run: Run, server: Served) -> Run:
    """Runs a command against the shared server."""

    def ran(*arguments: object, stdin: bytes = b"", **variables: str) -> Ran:
        return run(*arguments, stdin=stdin, variables=server.variables() | variables)

    return ran


@pytest.fixture
def key(kms: Run) -> str:
    """The id of a new key in eu-central-1."""
    key_id: str = kms("keys", "create", "--output", "json").json["KeyMetadata"]["KeyId"]
    return key_id
