"""Tokens never appear in a log, whatever their source."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from kms_grpc import app, config
from kms_grpc.clock import SystemClock
from kms_grpc.processes import logs

TOKEN = "a-token-that-nobody-may-read"


@pytest.mark.parametrize(
    "given",
    [
        "token",  # in the configuration itself
        "token_file",  # the configuration names a file
        "dev.token",  # created by --dev
    ],
)
def test_a_token_is_hidden_once_it_is_read(
    tmp_path: Path, given: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = f"{TOKEN}-{given}"
    (tmp_path / "file").write_text(token)
    (tmp_path / "dev.token").write_text(token)
    for name in ("file", "dev.token"):
        (tmp_path / name).chmod(0o600)
    caller = {"name": "a", "arn": "arn:aws:iam::123456789012:role/a", "account": "123456789012", "policies": []}
    source = {"token": {"token": token}, "token_file": {"token_file": str(tmp_path / "file")}}
    values = {"data_dir": str(tmp_path), "regions": ["eu-central-1"], "dev": given == "dev.token"}
    app.bearer_tokens(
        config.from_values(values | {"principals": [caller | source[given]] if given in source else []}), SystemClock()
    )
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    logs.configure("test", "info")
    logging.getLogger("kms_grpc.test").warning("the caller sent %s", token)
    logged = capsys.readouterr().err
    assert "the caller sent" in logged
    assert token not in logged
