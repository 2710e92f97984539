"""`kms-grpc explain`: the verdict, its reason, exit codes, and audit records of denied calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

STRANGER = "arn:aws:iam::123456789012:role/nobody"
ROOT = "arn:aws:iam::123456789012:root"


def test_a_denied_call(kms: Run, key: str) -> None:
    ran = kms("explain", "--principal", STRANGER, "--action", "kms:Decrypt", "--key", key)
    assert ran.code == 1
    lines = ran.text.splitlines()
    assert lines[0] == f"denied: kms:Decrypt by {STRANGER}"
    assert "none of the principal's allows it" in lines[1]
    assert f"key/{key} (Enabled)" in ran.text
    assert "not in the configuration" in ran.text


def test_an_allowed_call_in_json(kms: Run) -> None:
    ran = kms("explain", "--principal", ROOT, "--action", "kms:CreateKey", "-o", "json")
    assert (ran.code, ran.json["Allowed"], ran.json["Decision"]) == (0, True, "allowed")


RECORD = {
    "userIdentity": {"arn": STRANGER},
    "eventTime": "2026-12-01T05:00:00Z",
    "sourceIPAddress": "10.1.2.3",
    "userAgent": "grpc-python",
    "awsRegion": "eu-central-1",
}


@pytest.mark.parametrize(
    ("operation", "parameters", "denied"),
    [
        ("Decrypt", {"encryptionContext": {"a": "b"}}, ["kms:Decrypt"]),
        ("ReEncrypt", {"sourceEncryptionContext": {}}, ["kms:ReEncryptFrom"]),
        ("CreateKey", None, ["kms:CreateKey"]),
    ],
)
def test_the_call_of_an_audit_record(
    kms: Run, key: str, tmp_path: Path, operation: str, parameters: Any, denied: list[str]
) -> None:
    arn = f"arn:aws:kms:eu-central-1:123456789012:key/{key}"
    resources = [] if operation == "CreateKey" else [{"ARN": arn}]
    record = RECORD | {"eventName": operation, "requestParameters": parameters, "resources": resources}
    file = tmp_path / "denied.json"
    file.write_text(json.dumps(record))
    ran = kms("explain", "--request", file, "--region", "eu-central-1")
    assert ran.code == 1, ran.err
    verdicts = [line for line in ran.text.splitlines() if line.startswith("denied: ")]
    assert verdicts == [f"denied: {action} by {STRANGER}" for action in denied]


MISUSED: list[tuple[list[str], str | None, str]] = [
    (["--action", "kms:Decrypt"], None, "give --principal and --action"),
    (["--principal", ROOT, "--action", "kms:ListKeys", "--condition", "x"], None, "is not NAME=VALUE"),
    (["--request"], "[]", "one JSON object"),
    (["--request"], "{", "one JSON object"),
    (["--request"], '{"awsRegion": "eu-central-1", "eventName": "Decrypt"}', "no audit record of a call"),
    (["--request"], json.dumps(RECORD | {"eventName": "RotateKey", "resources": [], "requestParameters": None}),
     "no operation that somebody calls"),
    (["--request"], json.dumps(RECORD | {"eventName": "ListKeys", "resources": [], "requestParameters": None,
     "awsRegion": "us-east-1"}), "give --region us-east-1"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "record", "said"), MISUSED)
def test_misuse_is_explained(kms: Run, tmp_path: Path, arguments: list[str], record: str | None, said: str) -> None:
    file = tmp_path / "record.json"
    if record is not None:
        file.write_text(record)
        arguments = [*arguments, str(file)]
    ran = kms("explain", *arguments, "--region", "eu-central-1")
    assert ran.code == 2, ran.text
    assert said in ran.err
