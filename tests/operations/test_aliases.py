"""CreateAlias, UpdateAlias, DeleteAlias, ListAliases: names, targets, quota."""

from __future__ import annotations

from typing import Any

import pytest

from kms_grpc.model.key import KeyUsage
from tests.operations.service import ALICE, AWAY, EVE, HOME, Refusal, Worker

NO_PREFIX = (
    'Alias must start with the prefix "alias/". Please see '
    "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
)
PATTERN = "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"


def violation(name: str, constraint: str) -> str:
    return f"1 validation error detected: Value '{name}' at 'aliasName' failed to satisfy constraint: {constraint}"


NAMES = [
    ("alias/a", None, "", "the shortest"),
    ("alias/" + "a" * 250, None, "", "256 characters in all"),
    ("alias/A-z_0/9", None, "", "every character that may be"),
    ("alias/awsome", None, "", "not under alias/aws/"),
    ("alias/AWS/s3", None, "", "reserved in lower case only: names are case-sensitive"),
    (
        "alias/" + "a" * 251,
        "ValidationException",
        violation("alias/" + "a" * 251, "Member must have length less than or equal to 256"),
        "257",
    ),
    ("alias/a b", "ValidationException", violation("alias/a b", PATTERN), "white space"),
    ("alias/é", "ValidationException", violation("alias/é", PATTERN), "no ASCII"),
    ("alias/a\n", "ValidationException", violation("alias/a\n", PATTERN), "a newline at the end"),
    ("name", "ValidationException", NO_PREFIX, "no prefix"),
    ("ALIAS/name", "ValidationException", NO_PREFIX, "the prefix is in lower case"),
    ("alias", "ValidationException", NO_PREFIX, "half a prefix"),
    (
        "alias/aws/s3",
        "NotAuthorizedException",
        "",
        "reserved",
    ),
    (
        "alias/",
        "ValidationException",
        "alias/ contains invalid characters for an alias",
        "no name",
    ),
    (
        "alias/a:b",
        "ValidationException",
        "alias/a:b contains invalid characters for an alias",
        "AWS's pattern lets the colon in, its text doesn't",
    ),
]


@pytest.mark.parametrize(("name", "code", "text", "reason"), NAMES, ids=[reason for *_, reason in NAMES])
def test_names(shared: Worker, name: str, code: str | None, text: str, reason: str) -> None:
    made = shared.create()
    if code is None:
        shared.call("CreateAlias", alias_name=name, target_key_id=made.key_id)
        assert shared.call("DescribeKey", key_id=name).key_metadata.key_id == made.key_id
        return
    assert shared.refusal("CreateAlias", alias_name=name, target_key_id=made.key_id) == Refusal(code, text)
    if text.endswith("contains invalid characters for an alias"):
        code, text = "NotFoundException", f"Alias arn:aws:kms:{HOME}:{ALICE.account}:{name} is not found."
    assert shared.refusal("UpdateAlias", alias_name=name, target_key_id=made.key_id) == Refusal(code, text)
    assert shared.refusal("DeleteAlias", alias_name=name) == Refusal(code, text)


def test_names_are_unique_in_account_and_region(shared: Worker) -> None:
    made, other = shared.create(alias="alias/unique"), shared.create()
    arn = f"arn:aws:kms:{HOME}:{ALICE.account}:alias/unique"
    for target in (made.key_id, other.key_id):
        refusal = shared.refusal("CreateAlias", alias_name="alias/unique", target_key_id=target)
        assert (refusal.code, refusal.text) == (
            "AlreadyExistsException",
            f"An alias with the name {arn} already exists",
        )
    shared.create(by=EVE, alias="alias/unique")
    shared.create(region=AWAY, alias="alias/unique")
    shared.create(alias="alias/Unique")
    assert shared.call("DescribeKey", key_id="alias/unique").key_metadata.key_id == made.key_id


def test_update_alias_changes_only_target_and_date(worker: Worker) -> None:
    first, second = worker.create(alias="alias/moving"), worker.create()
    created = worker.service.clock.wall_ns()
    worker.service.clock.step(10**9)  # type: ignore[attr-defined]
    worker.call("UpdateAlias", alias_name="alias/moving", target_key_id=second.arn)
    worker.call("UpdateAlias", alias_name="alias/moving", target_key_id=second.key_id)  # the same key again
    (entry,) = worker.call("ListAliases").aliases
    assert (entry.alias_name, entry.target_key_id) == ("alias/moving", second.key_id)
    assert entry.alias_arn == f"arn:aws:kms:{HOME}:{ALICE.account}:alias/moving"
    assert entry.creation_date.ToNanoseconds() == created
    assert entry.last_updated_date.ToNanoseconds() == created + 10**9
    assert worker.call("DescribeKey", key_id="alias/moving").key_metadata.key_id == second.key_id
    assert not worker.call("ListAliases", key_id=first.key_id).aliases


def test_a_moved_alias_does_not_decrypt_former_blobs(shared: Worker) -> None:
    shared.create(alias="alias/leaving")
    second = shared.create()
    blob = shared.encrypt("alias/leaving")
    assert shared.call("Decrypt", ciphertext_blob=blob, key_id="alias/leaving").plaintext == b"plaintext"
    shared.call("UpdateAlias", alias_name="alias/leaving", target_key_id=second.key_id)
    text = "The key ID in the request does not identify a CMK that can perform this operation."
    refusal = shared.refusal("Decrypt", ciphertext_blob=blob, key_id="alias/leaving")
    assert (refusal.code, refusal.text) == ("IncorrectKeyException", text)
    moved = shared.refusal(
        "ReEncrypt", ciphertext_blob=blob, source_key_id="alias/leaving", destination_key_id=second.key_id
    )
    assert (moved.code, moved.text) == ("IncorrectKeyException", text)
    assert shared.call("Decrypt", ciphertext_blob=blob).plaintext == b"plaintext", "the blob names its key itself"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"usage": KeyUsage.GENERATE_VERIFY_MAC, "spec": "HMAC_256"}, "another class and usage"),
        ({"spec": "RSA_2048"}, "asymmetric, with the same usage"),
        ({"usage": KeyUsage.SIGN_VERIFY, "spec": "RSA_2048"}, "asymmetric, with another usage"),
    ],
)
def test_an_alias_moves_between_keys_of_one_kind_only(shared: Worker, changes: dict[str, Any], reason: str) -> None:
    first, second = shared.create(), shared.create()
    name = f"alias/{first.key_id}"
    shared.call("CreateAlias", alias_name=name, target_key_id=first.key_id)
    shared.change(second.key_id, **changes)
    assert shared.refusal("UpdateAlias", alias_name=name, target_key_id=second.key_id).code == "ValidationException"
    assert shared.call("DescribeKey", key_id=name).key_metadata.key_id == first.key_id


def test_delete_alias_leaves_the_key(shared: Worker) -> None:
    made = shared.create(alias="alias/short-lived")
    shared.call("DeleteAlias", alias_name="alias/short-lived")
    text = f"Alias arn:aws:kms:{HOME}:{ALICE.account}:alias/short-lived is not found."
    assert shared.refusal("DeleteAlias", alias_name="alias/short-lived") == Refusal("NotFoundException", text)
    assert shared.refusal("DescribeKey", key_id="alias/short-lived") == Refusal("NotFoundException", text)
    assert shared.call("DescribeKey", key_id=made.key_id).key_metadata.enabled
    shared.call("CreateAlias", alias_name="alias/short-lived", target_key_id=made.key_id)
    shared.call("DescribeKey", key_id="alias/short-lived")


def test_quota_of_aliases(make_host: Any) -> None:
    """The quota is per key. It covers new aliases and those moved from another key, but not one that stays."""
    worker = make_host(quotas={"aliases_per_key": 2}).worker()
    full, other = worker.create(alias="alias/1"), worker.create(alias="alias/3")
    worker.call("CreateAlias", alias_name="alias/2", target_key_id=full.key_id)
    expected = Refusal(
        "LimitExceededException", f"{full.arn} has 2 aliases, which is the quota of a key.", full.arn, "Enabled"
    )
    assert worker.refusal("CreateAlias", alias_name="alias/4", target_key_id=full.key_id) == expected
    assert worker.refusal("UpdateAlias", alias_name="alias/3", target_key_id=full.key_id) == expected
    worker.call("UpdateAlias", alias_name="alias/2", target_key_id=full.key_id)
    worker.call("DeleteAlias", alias_name="alias/1")
    worker.call("UpdateAlias", alias_name="alias/3", target_key_id=full.key_id)
    assert [entry.alias_name for entry in worker.call("ListAliases", key_id=full.key_id).aliases] == [
        "alias/3",
        "alias/2",
    ]
    assert not worker.call("ListAliases", key_id=other.key_id).aliases


def test_list_aliases_of_one_key(worker: Worker) -> None:
    made, other = worker.create(alias="alias/1"), worker.create(alias="alias/2")
    worker.call("CreateAlias", alias_name="alias/3", target_key_id=made.key_id)
    worker.create(by=EVE, alias="alias/eve")
    for key_id in (made.key_id, made.arn):
        assert [entry.alias_name for entry in worker.call("ListAliases", key_id=key_id).aliases] == [
            "alias/1",
            "alias/3",
        ]
    assert [entry.alias_name for entry in worker.call("ListAliases").aliases] == ["alias/1", "alias/2", "alias/3"]
    assert [entry.target_key_id for entry in worker.call("ListAliases").aliases] == [
        made.key_id,
        other.key_id,
        made.key_id,
    ]
