"""How keys and aliases are named, and what a caller learns from a name that is none.

Texts are AWS's. Source: https://docs.aws.amazon.com/kms/latest/developerguide/find-cmk-id-arn.html
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.operations.service import ALICE, AWAY, EVE, HOME, OPERATIONS, Refusal, Worker, violation

ABSENT = "12345678-90ab-4cde-8f01-234567890abc"
ABSENT_MRK = "mrk-1234567890ab4cde8f01234567890abc"
CALLS: dict[str, dict[str, Any]] = {
    "DescribeKey": {},
    "EnableKey": {},
    "DisableKey": {},
    "UpdateKeyDescription": {"description": "d"},
    "ListAliases": {},
    "ScheduleKeyDeletion": {},
    "CancelKeyDeletion": {},
    "TagResource": {"tags": [{"tag_key": "k", "tag_value": "v"}]},
    "UntagResource": {"tag_keys": ["k"]},
    "ListResourceTags": {},
    "EnableKeyRotation": {},
    "DisableKeyRotation": {},
    "GetKeyRotationStatus": {},
    "RotateKeyOnDemand": {},
    "ListKeyRotations": {},
    "GetParametersForImport": {"wrapping_algorithm": 2, "wrapping_key_spec": 1},
    "ImportKeyMaterial": {"import_token": b"t", "encrypted_key_material": b"m", "expiration_model": 2},
    "DeleteImportedKeyMaterial": {},
    "CreateAlias": {"alias_name": "alias/never-made"},
    "UpdateAlias": {"alias_name": "alias/identified"},
    "Encrypt": {"plaintext": b"p"},
    "GenerateDataKey": {"number_of_bytes": 16},
    "GenerateDataKeyWithoutPlaintext": {"number_of_bytes": 16},
    "Decrypt": {},
    "ReEncrypt.to": {},
    "ReEncrypt.from": {},
}
ALIASES_TAKEN = {
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "Decrypt",
    "ReEncrypt.to",
    "ReEncrypt.from",
}
KNOWS_INVALID_ARN = set(CALLS) - (ALIASES_TAKEN - {"DescribeKey"}) - {"CreateAlias", "UpdateAlias"}
OF_EXTERNAL_KEYS = {"GetParametersForImport", "ImportKeyMaterial", "DeleteImportedKeyMaterial"}
FIELDS = {
    "CreateAlias": "target_key_id",
    "UpdateAlias": "target_key_id",
    "ReEncrypt.to": "destination_key_id",
    "ReEncrypt.from": "source_key_id",
}


class Named:
    """The operations that take a key's name, each with a request that is good but for the name."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.key = worker.create(alias="alias/identified")
        self.blob = worker.encrypt(self.key.key_id)
        self.foreign = worker.create(by=EVE, alias="alias/of-eve")
        self.away = worker.create(region=AWAY, alias="alias/far-away")

    def fields(self, name: str, text: str) -> dict[str, Any]:
        fields = CALLS[name] | {FIELDS.get(name, "key_id"): text}
        if name in ("Decrypt", "ReEncrypt.to", "ReEncrypt.from"):
            fields["ciphertext_blob"] = self.blob
        if name == "ReEncrypt.from":
            fields["destination_key_id"] = self.key.key_id
        return fields

    def call(self, name: str, text: str) -> Any:
        return self.worker.call(name.partition(".")[0], **self.fields(name, text))

    def refusal(self, name: str, text: str) -> Refusal:
        return self.worker.refusal(name.partition(".")[0], **self.fields(name, text))


@pytest.fixture(scope="module")
def named(shared: Worker) -> Named:
    return Named(shared)


def test_every_operation_that_names_a_key_is_in_this_file() -> None:
    by_name = {
        row.name
        for row in OPERATIONS.values()
        if any(hasattr(key, "aliases") or hasattr(key, "named") for key in row.keys) and not row.batches
    }  # items of batches are admitted as single calls are: test_batches.py
    assert {name.partition(".")[0] for name in CALLS} == by_name


def good_names(named: Named) -> Iterator[str]:
    yield from (named.key.key_id, named.key.arn)


@pytest.mark.parametrize("name", CALLS)
def test_key_id_and_arn_are_taken_everywhere(named: Named, name: str) -> None:
    for text in good_names(named):
        if name in OF_EXTERNAL_KEYS:
            refusal = named.refusal(name, text)
            assert (refusal.code, refusal.key) == ("UnsupportedOperationException", named.key.arn), "the key was found"
            continue
        if name == "CancelKeyDeletion":
            named.worker.call("ScheduleKeyDeletion", key_id=named.key.key_id)
        named.call(name, text)
        if name == "ScheduleKeyDeletion":
            named.worker.call("CancelKeyDeletion", key_id=named.key.key_id)
        if name in ("ScheduleKeyDeletion", "CancelKeyDeletion"):
            named.worker.call("EnableKey", key_id=named.key.key_id)
        if name == "CreateAlias":
            named.worker.call("DeleteAlias", alias_name="alias/never-made")
        if name == "DisableKey":
            named.worker.call("EnableKey", key_id=named.key.key_id)


ALIAS_FORMS = ("alias/identified", f"arn:aws:kms:{HOME}:{ALICE.account}:alias/identified")


@pytest.mark.parametrize("text", ALIAS_FORMS)
@pytest.mark.parametrize("name", CALLS)
def test_aliases_are_taken_by_some(named: Named, name: str, text: str) -> None:
    if name in ALIASES_TAKEN:
        answer = named.call(name, text)
        if hasattr(answer, "key_id"):
            assert answer.key_id == named.key.arn, "the answer names the key by its ARN, whatever was sent"
    elif name in ("CreateAlias", "UpdateAlias"):
        assert named.refusal(name, text) == Refusal("ValidationException", "Aliases must refer to keys. Not aliases")
    else:
        assert named.refusal(name, text) == Refusal("NotFoundException", f"Invalid keyId '{text}'")


MALFORMED = [
    ("1234567890ab4cde8f01234567890abc", "32 hex digits without dashes"),
    ("12345678-90AB-4CDE-8F01-234567890ABC", "upper case"),
    ("mrk-12345678-90ab-4cde-8f01-234567890abc", "mrk- with dashes"),
    ("mrk-1234567890ab4cde8f01234567890ab", "mrk- with a digit too few"),
    ("12345678-90ab-4cde-8f01-234567890abc\n", "a newline at its end"),
    ("fake-key-id", "no id at all"),
    ("key/12345678-90ab-4cde-8f01-234567890abc", "an ARN's last part"),
    (" ", "white space"),
    ("é" * 2048, "2,048 characters of two bytes"),
    ("x" * 2048, "the longest that may be sent"),
    ("\0", "a zero byte"),
    ("alias/", "a prefix alone"),
    ("alias/with space", "an alias that cannot be"),
    ("ALIAS/identified", "prefixes are in lower case"),
    (f"arn:aws:kms:{HOME}:111122223333:key/1234567890ab4cde8f01234567890abc", "an ARN of a malformed id"),
    (f"arn:aws:kms:{HOME}:111122223333:key/{ABSENT}\n", "an ARN with a newline"),
    (f"arn:aws:kms:{HOME}:111122223333:alias/a b", "an ARN of a malformed alias"),
]


@pytest.mark.parametrize(("text", "reason"), MALFORMED, ids=[reason for _, reason in MALFORMED])
@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_name_is_invalid(named: Named, name: str, text: str, reason: str) -> None:
    refusal = named.refusal(name, text)
    if name in ("CreateAlias", "UpdateAlias") and (text.startswith("alias/") or ":alias/" in text):
        assert refusal.code == "ValidationException"
    elif name in KNOWS_INVALID_ARN and text.startswith("arn:") and text.endswith("\n"):
        assert refusal.code in ("InvalidArnException", "NotFoundException")
    else:
        assert refusal == Refusal("NotFoundException", f"Invalid keyId '{text}'")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("key_id", [ABSENT, ABSENT_MRK])
def test_absent_keys(named: Named, name: str, key_id: str) -> None:
    arn = f"arn:aws:kms:{HOME}:{ALICE.account}:key/{key_id}"
    for text in (key_id, arn):
        assert named.refusal(name, text) == Refusal("NotFoundException", f"Key '{arn}' does not exist")


@pytest.mark.parametrize("name", sorted(ALIASES_TAKEN))
def test_absent_aliases(named: Named, name: str) -> None:
    arn = f"arn:aws:kms:{HOME}:{ALICE.account}:alias/absent"
    for text in ("alias/absent", arn, "alias/Identified", "alias/far-away", "alias/of-eve"):
        refusal = named.refusal(name, text)
        shown = arn if text == arn else f"arn:aws:kms:{HOME}:{ALICE.account}:{text}"
        assert refusal == Refusal("NotFoundException", f"Alias {shown} is not found.")


@pytest.mark.parametrize("name", CALLS)
def test_arns_of_another_region(named: Named, name: str) -> None:
    """Its own region's name is the whole text, whether there is such a key or not, and whoever owns it."""
    for text in (
        named.away.arn,
        named.away.arn.replace(named.away.key_id, ABSENT),
        named.away.arn.replace(ALICE.account, EVE.account),
    ):
        assert named.refusal(name, text) == Refusal("NotFoundException", f"Invalid arn {AWAY}")


BROKEN_ARNS = [
    "arn:",
    "arn:aws:kms",
    f"arn:aws:s3:{HOME}:111122223333:key/{ABSENT}",
    f"arn:aws:kms:{HOME}:1111:key/{ABSENT}",
    f"arn:aws:kms:{HOME}:111122223333:{ABSENT}",
]


@pytest.mark.parametrize("text", BROKEN_ARNS)
@pytest.mark.parametrize("name", CALLS)
def test_arns_that_cannot_be_read(named: Named, name: str, text: str) -> None:
    if name in KNOWS_INVALID_ARN:
        assert named.refusal(name, text) == Refusal("InvalidArnException", f"Invalid arn '{text}'")
    else:
        assert named.refusal(name, text) == Refusal("NotFoundException", f"Invalid keyId '{text}'")


def test_arns_of_another_partition_are_not_here(named: Named) -> None:
    text = named.key.arn.replace("arn:aws:", "arn:aws-cn:")
    assert named.refusal("DescribeKey", text).code == "NotFoundException"


OPTIONAL = {"Decrypt", "ReEncrypt.from", "ListAliases"}


@pytest.mark.parametrize(("name", "size"), list(itertools.product(CALLS, (0, 2049))))
def test_length_of_names(named: Named, name: str, size: int) -> None:
    refusal = named.refusal(name, "x" * size)
    field = FIELDS.get(name, "key_id")
    member = "".join(part.capitalize() for part in field.split("_"))
    member = member[0].lower() + member[1:]
    assert refusal.code == "ValidationException"
    if size:
        assert refusal.text == violation(member, "have length less than or equal to 2048", "x" * 257 + "…")
    elif name in OPTIONAL:
        assert refusal.text.endswith(
            f"Value '' at '{member}' failed to satisfy constraint: Member must have length greater than or equal to 1"
        )
    else:
        assert refusal.text.endswith(f"Value null at '{member}' failed to satisfy constraint: Member must not be null")
