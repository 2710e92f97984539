"""judge.py accepts a correct response and rejects the same one with any single fault."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.aws.judge import judge_error, judge_value
from tests.aws.test_cases import MODEL

ARN = "arn:aws:kms:eu-central-1:123456789012:key/12345678-1234-4234-8234-123456789012"
GOOD: dict[str, Any] = {
    "KeyMetadata": {
        "AWSAccountId": "123456789012", "KeyId": "12345678-1234-4234-8234-123456789012", "Arn": ARN,
        "CreationDate": 1795557843.25, "Enabled": True, "Description": "", "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": "Enabled", "Origin": "AWS_KMS", "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"], "MultiRegion": False,
    }
}  # fmt: skip


def judge(answer: Any) -> None:
    shape = MODEL.operation_model("DescribeKey").output_shape
    assert shape is not None
    judge_value(shape, answer, "DescribeKey")


def test_a_good_answer() -> None:
    judge(GOOD)


FAULTS: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("an unknown member", lambda key: key.update(Colour="red")),
    ("a false member that is left out", lambda key: key.pop("MultiRegion")),
    ("an empty member that is left out", lambda key: key.pop("Description")),
    ("a null", lambda key: key.update(ValidTo=None)),
    ("a date as a string", lambda key: key.update(CreationDate="2026-11-24T22:04:03Z")),
    ("a boolean as a number", lambda key: key.update(Enabled=1)),
    ("a number as a boolean", lambda key: key.update(PendingDeletionWindowInDays=True)),
    ("an enum value as the proto spells it", lambda key: key.update(KeyState="KEY_STATE_ENABLED")),
    ("an unknown enum value in a list", lambda key: key.update(EncryptionAlgorithms=["AES"])),
    ("an item instead of a list", lambda key: key.update(EncryptionAlgorithms="SYMMETRIC_DEFAULT")),
    ("an id that is too long", lambda key: key.update(KeyId="k" * 2049)),
    ("a key material id that is not lower-case hex", lambda key: key.update(CurrentKeyMaterialId="A" * 64)),
]


@pytest.mark.parametrize(("why", "spoil"), FAULTS, ids=[why for why, _ in FAULTS])
def test_one_fault(why: str, spoil: Callable[[dict[str, Any]], object]) -> None:
    answer = copy.deepcopy(GOOD)
    spoil(answer["KeyMetadata"])
    with pytest.raises(AssertionError):
        judge(answer)


def test_a_blob_must_be_base64() -> None:
    shape = MODEL.operation_model("GenerateRandom").output_shape
    assert shape is not None
    judge_value(shape, {"Plaintext": "aGVsbG8="}, "GenerateRandom")
    for blob in ("aGVsbG8", "aGVs bG8=", "aGVsbG8_"):
        with pytest.raises(ValueError, match=r"(?i)base64|padding"):
            judge_value(shape, {"Plaintext": blob}, "GenerateRandom")


ERRORS: list[tuple[str, int, dict[str, str], bool]] = [
    ("a correct error", 400, {"__type": "NotFoundException", "message": "t"}, True),
    ("no text, as AWS sends none", 400, {"__type": "InvalidCiphertextException"}, True),
    ("a fault", 500, {"__type": "KMSInternalException", "message": "t"}, True),
    ("an empty text", 400, {"__type": "InvalidCiphertextException", "message": ""}, False),
    ("a missing text", 400, {"__type": "NotFoundException"}, False),
    ("an error of another operation", 400, {"__type": "TagException", "message": "t"}, False),
    ("a client error with status 500", 500, {"__type": "NotFoundException", "message": "t"}, False),
    ("an unknown member", 400, {"__type": "NotFoundException", "message": "t", "key": ARN}, False),
]


@pytest.mark.parametrize(("why", "status", "body", "is_good"), ERRORS, ids=[row[0] for row in ERRORS])
def test_errors(why: str, status: int, body: dict[str, str], is_good: bool) -> None:
    model = MODEL.operation_model("Decrypt")
    if is_good:
        judge_error(model, status, body)
        return
    with pytest.raises((AssertionError, KeyError)):
        judge_error(model, status, body)
