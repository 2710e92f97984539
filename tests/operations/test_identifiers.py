"""Identifiers of keys and aliases: the forms that each operation takes, and the errors for all others.

Texts are AWS's. Source: https://docs.aws.amazon.com/kms/latest/developerguide/find-cmk-id-arn.html
"""

from __future__ import annotations

import pytest

from kms_grpc.operations.contract.descriptors import limits
from tests.aws_facts import TAKES_ALIASES, errors_of
from tests.examples import EXAMPLES, METHODS
from tests.operations.scenes import NAMED_KEYS, SINGLE, Scene, ready
from tests.operations.service import ALICE, AWAY, EVE, HOME, Refusal, Worker, violation

ABSENT = "12345678-90ab-4cde-8f01-234567890abc"
ABSENT_MRK = "mrk-1234567890ab4cde8f01234567890abc"
FIELDS = pytest.mark.parametrize(("name", "field"), NAMED_KEYS, ids=str)


class Named:
    """A key with an alias, one of another account and one of another region; and a scene for each operation, whose
    calls are refused, so that tests may share it."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.key = worker.create(alias="alias/identified")
        self.foreign = worker.create(by=EVE, alias="alias/of-eve")
        self.away = worker.create(region=AWAY, alias="alias/far-away")
        self._scenes: dict[str, Scene] = {}

    def refusal(self, name: str, field: str, text: str) -> Refusal:
        if name not in self._scenes:
            self._scenes[name] = Scene(self.worker, name)
        return self._scenes[name].refusal(**{field: text})


@pytest.fixture(scope="module")
def named(shared: Worker) -> Named:
    return Named(shared)


def takes_aliases(name: str) -> bool:
    return name in TAKES_ALIASES


def knows_invalid_arn(name: str) -> bool:
    return "InvalidArnException" in errors_of(name)


def is_target(field: str) -> bool:
    """Says whether the field names the key that an alias is to point at."""
    return field == "target_key_id"


@pytest.mark.parametrize("name", SINGLE)
def test_examples_name_every_key_of_the_request(name: str) -> None:
    """The fields are those of the contract. Items of batches are admitted like single calls: see test_batches.py."""
    fields = [field for field in METHODS[name].input_type.fields if not limits(field).unsupported]
    assert set(EXAMPLES[name].named) == {field.name for field in fields if field.name.endswith("key_id")}


@FIELDS
@pytest.mark.parametrize("form", ["key_id", "arn"])
def test_every_operation_takes_key_id_and_arn(shared: Worker, name: str, field: str, form: str) -> None:
    scene = ready(shared, name)
    key = scene.keys[EXAMPLES[name].named[field]]
    scene.call(**{field: getattr(key, form)})


@FIELDS
@pytest.mark.parametrize("form", ["alias name", "alias ARN"])
def test_aliases_are_taken_where_aws_takes_them(shared: Worker, name: str, field: str, form: str) -> None:
    scene = Scene(shared, name, state="Enabled")
    key = scene.keys[EXAMPLES[name].named[field]]
    alias = f"alias/{key.key_id}"
    shared.call("CreateAlias", alias_name=alias, target_key_id=key.key_id)
    text = alias if form == "alias name" else f"arn:aws:kms:{HOME}:{ALICE.account}:{alias}"
    if takes_aliases(name):
        answer = scene.call(**{field: text})
        if hasattr(answer, "key_id") and field != "source_key_id":
            assert answer.key_id == key.arn, "the answer names the key by its ARN"
    elif is_target(field):
        told = Refusal("ValidationException", "Aliases must refer to keys. Not aliases")
        assert scene.refusal(**{field: text}) == told
    else:
        assert scene.refusal(**{field: text}) == Refusal("NotFoundException", f"Invalid keyId '{text}'")


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
@FIELDS
def test_malformed_identifiers(named: Named, name: str, field: str, text: str, reason: str) -> None:
    refusal = named.refusal(name, field, text)
    if is_target(field) and (text.startswith("alias/") or ":alias/" in text):
        assert refusal.code == "ValidationException"
    elif knows_invalid_arn(name) and text.startswith("arn:") and text.endswith("\n"):
        assert refusal.code in ("InvalidArnException", "NotFoundException")
    else:
        assert refusal == Refusal("NotFoundException", f"Invalid keyId '{text}'")


@FIELDS
@pytest.mark.parametrize("key_id", [ABSENT, ABSENT_MRK])
def test_absent_keys(named: Named, name: str, field: str, key_id: str) -> None:
    arn = f"arn:aws:kms:{HOME}:{ALICE.account}:key/{key_id}"
    for text in (key_id, arn):
        assert named.refusal(name, field, text) == Refusal("NotFoundException", f"Key '{arn}' does not exist")


@pytest.mark.parametrize(("name", "field"), [pair for pair in NAMED_KEYS if takes_aliases(pair[0])], ids=str)
def test_absent_aliases(named: Named, name: str, field: str) -> None:
    arn = f"arn:aws:kms:{HOME}:{ALICE.account}:alias/absent"
    for text in ("alias/absent", arn, "alias/Identified", "alias/far-away", "alias/of-eve"):
        refusal = named.refusal(name, field, text)
        shown = arn if text == arn else f"arn:aws:kms:{HOME}:{ALICE.account}:{text}"
        assert refusal == Refusal("NotFoundException", f"Alias {shown} is not found.")


@FIELDS
def test_arns_of_another_region(named: Named, name: str, field: str) -> None:
    """The error names only the ARN's region, whether the key exists or not, and in any account."""
    for text in (
        named.away.arn,
        named.away.arn.replace(named.away.key_id, ABSENT),
        named.away.arn.replace(ALICE.account, EVE.account),
    ):
        assert named.refusal(name, field, text) == Refusal("NotFoundException", f"Invalid arn {AWAY}")


BROKEN_ARNS = [
    "arn:",
    "arn:aws:kms",
    f"arn:aws:s3:{HOME}:111122223333:key/{ABSENT}",
    f"arn:aws:kms:{HOME}:1111:key/{ABSENT}",
    f"arn:aws:kms:{HOME}:111122223333:{ABSENT}",
]


@pytest.mark.parametrize("text", BROKEN_ARNS)
@FIELDS
def test_malformed_arns(named: Named, name: str, field: str, text: str) -> None:
    if knows_invalid_arn(name):
        assert named.refusal(name, field, text) == Refusal("InvalidArnException", f"Invalid arn '{text}'")
    else:
        assert named.refusal(name, field, text) == Refusal("NotFoundException", f"Invalid keyId '{text}'")


def test_arns_of_another_partition_are_not_found(named: Named) -> None:
    text = named.key.arn.replace("arn:aws:", "arn:aws-cn:")
    assert named.refusal("DescribeKey", "key_id", text).code == "NotFoundException"


@FIELDS
@pytest.mark.parametrize("size", [0, 2049])
def test_length_of_identifiers(named: Named, name: str, field: str, size: int) -> None:
    refusal = named.refusal(name, field, "x" * size)
    described = METHODS[name].input_type.fields_by_name[field]
    member = described.json_name[0].lower() + described.json_name[1:]
    assert refusal.code == "ValidationException"
    if size:
        assert refusal.text == violation(member, "have length less than or equal to 2048", "x" * 257 + "…")
    elif limits(described).required:
        assert refusal.text.endswith(f"Value null at '{member}' failed to satisfy constraint: Member must not be null")
    else:
        assert refusal.text.endswith(
            f"Value '' at '{member}' failed to satisfy constraint: Member must have length greater than or equal to 1"
        )
