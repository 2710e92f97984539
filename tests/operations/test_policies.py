"""PutKeyPolicy, CreateKey with a policy, GetKeyPolicy and ListKeyPolicies."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.authorization.key_policies import StoredKeyPolicies
from kms_grpc.model.key import KeyState
from kms_grpc.registry.sql.library import sqlite3
from tests.operations.service import ALICE, BOB, EVE, HOME, Host, Refusal, Worker
from tests.registry.damaging import damaged_rows

TEXT = """{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::111122223333:root"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}"""
"""The default key policy of AWS's documentation, for one account. Clients compare policies as text, so it stays."""
ROOT = f"arn:aws:iam::{ALICE.account}:root"
LOCKED_OUT = "The new key policy will not allow you to update the key policy in the future."


def statement(principal: Any, *actions: str, effect: str = "Allow", **more: Any) -> dict[str, Any]:
    named = principal if isinstance(principal, (str, dict)) else {"AWS": [caller.arn for caller in principal]}
    return {"Effect": effect, "Principal": named, "Action": list(actions) or "kms:*", "Resource": "*", **more}


def document(*statements: dict[str, Any], **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more})


ACCOUNT = statement({"AWS": ROOT})
ALICE_ONLY = document(statement([ALICE]))


# --- the default policy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"policy_name": "default"}])
def test_a_key_has_the_default_policy(shared: Worker, fields: dict[str, str]) -> None:
    answer = shared.call("GetKeyPolicy", key_id=shared.create().key_id, **fields)
    assert (answer.policy, answer.policy_name) == (TEXT, "default")


def test_the_policy_names_the_account_of_the_key(shared: Worker) -> None:
    policy = json.loads(shared.call("GetKeyPolicy", by=EVE, key_id=shared.create(by=EVE).key_id).policy)
    assert policy["Statement"][0]["Principal"] == {"AWS": f"arn:aws:iam::{EVE.account}:root"}
    assert EVE.account != ALICE.account


@pytest.mark.parametrize("name", ["Default", "AWS_RAM", "x" * 128])
@pytest.mark.parametrize("operation", ["GetKeyPolicy", "PutKeyPolicy"])
def test_other_policies_are_not_found(shared: Worker, operation: str, name: str) -> None:
    key = shared.create()
    told = Refusal("NotFoundException", "No such policy exists", key.arn, "Enabled")
    if (operation, name) == ("PutKeyPolicy", "AWS_RAM"):
        told = Refusal("ValidationException", "The AWS_RAM policy can only be managed by the RAM service.")
    more = {"policy": ALICE_ONLY} if operation == "PutKeyPolicy" else {}
    assert shared.refusal(operation, key_id=key.key_id, policy_name=name, **more) == told


@pytest.mark.parametrize("fields", [{}, {"limit": 1}])
def test_a_key_has_one_policy_in_one_page(shared: Worker, fields: dict[str, int]) -> None:
    answer = shared.call("ListKeyPolicies", key_id=shared.create().key_id, **fields)
    assert (list(answer.policy_names), answer.truncated, answer.HasField("next_marker")) == (["default"], False, False)


def test_every_marker_is_refused(shared: Worker) -> None:
    """There is no second page, so nobody was given a marker."""
    key = shared.create()
    assert shared.refusal("ListKeyPolicies", key_id=key.key_id, marker="AQ").code == "ValidationException"


# --- what is stored --------------------------------------------------------------------------------------------------

BYTE_FOR_BYTE = {
    "white space": json.dumps(json.loads(ALICE_ONLY), indent=3) + "\r\n\t ",
    "one statement without brackets": document()[:-3] + json.dumps(ACCOUNT) + "}",
    "a bare account number": document(statement({"AWS": ALICE.account})),
    "unquoted truth value": document(ACCOUNT, statement("*", effect="Deny", Condition={"Bool": {
        "aws:SecureTransport": True}}, Sid="no plain \u00e4\u00ff")).replace("\\u00e4", "ä"),
}  # fmt: skip


@pytest.mark.parametrize("text", BYTE_FOR_BYTE.values(), ids=BYTE_FOR_BYTE)
def test_a_policy_comes_back_byte_for_byte(shared: Worker, text: str) -> None:
    key = shared.create()
    shared.call("PutKeyPolicy", key_id=key.key_id, policy=text, bypass_policy_lockout_safety_check=True)
    created = shared.call("CreateKey", policy=text, bypass_policy_lockout_safety_check=True).key_metadata
    shared.call("PutKeyPolicy", key_id=created.key_id, policy=ALICE_ONLY, bypass_policy_lockout_safety_check=True)
    shared.call("PutKeyPolicy", key_id=created.key_id, policy=text)
    for made in (key, created):
        assert shared.call("GetKeyPolicy", key_id=made.key_id).policy == text


MALFORMED = [
    ("{", "Syntax errors in policy. Expecting property name enclosed in double quotes (at line 1, column 2)"),
    (document(), "Missing required field Statement"),
    (document({**ACCOUNT, "Effect": "allow"}), "Invalid effect: allow (at Statement[0].Effect)"),
    (document({**ACCOUNT, "Principal": {"AWS": "alice"}}),
     "Policy contains a statement with one or more invalid principals. (at Statement[0].Principal.AWS)"),
    (document({**ACCOUNT, "Condition": {"StringEqual": {"kms:CallerAccount": "1"}}}), None),
    (document({**ACCOUNT, "Condition": {"StringEquals": {"kms:NoSuchKey": "1"}}}), None),
    # a reader that forgives would lose one of two members, or take a name that means nothing
    (document(ACCOUNT).replace('"Effect": "Allow"', '"Effect": "Deny", "Effect": "Allow"'), None),
    (document({**ACCOUNT, "Condition": {"StringEquals": {"kms:CallerAccount": "1"}, "x": {}}}).replace(
        '"x": {}', '"StringEquals": {"kms:ViaService": "x"}'), None),
    (document({**ACCOUNT, "condition": {}}), "Unknown field condition (at Statement[0].condition)"),
    (document(ACCOUNT, Condition={}), "Unknown field Condition (at Condition)"),
    (document({**ACCOUNT, "Condition": {"StringEquals": {"kms:CallerAccountIfExists": "1"}}}), None),
    (document({**ACCOUNT, "NotPrincipal": {"AWS": ROOT}}), None),
    (document({"Effect": "Allow", "NotPrincipal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"}), None),
    (document({**ACCOUNT, "NotAction": []}), None),
    (document({**ACCOUNT, "Principal": {"AWS": f"arn:aws:sts::{ALICE.account}:assumed-role/deploy/*"}}), None),
    (document({**ACCOUNT, "Condition": {"ForAllValues:StringEquals": {"kms:EncryptionContext:a": "1"}}}), None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), MALFORMED)
@pytest.mark.parametrize("operation", ["PutKeyPolicy", "CreateKey"])
def test_malformed_policies_change_nothing(shared: Worker, operation: str, text: str, told: str | None) -> None:
    key = shared.create()
    count = len(shared.call("ListKeys", limit=1000).keys)
    named = {"key_id": key.key_id} if operation == "PutKeyPolicy" else {}
    refusal = shared.refusal(operation, policy=text, bypass_policy_lockout_safety_check=True, **named)
    assert refusal.code == "MalformedPolicyDocumentException"
    assert told is None or refusal.text == told
    assert shared.call("GetKeyPolicy", key_id=key.key_id).policy == TEXT
    assert len(shared.call("ListKeys", limit=1000).keys) == count


def padded(size: int) -> str:
    """Returns a policy of that many bytes in UTF-8, with characters of two bytes."""
    text = document(ACCOUNT, Id="")
    fill = size - len(text)
    return document(ACCOUNT, Id="x").replace('"x"', '"' + "ä" * (fill // 2) + "x" * (fill % 2) + '"')


LIMITS = [
    (32_768, None), (32_769, "LimitExceededException"), (200_000, "LimitExceededException"),
    (300_000, "ValidationException"),
]  # fmt: skip


@pytest.mark.parametrize(("size", "code"), LIMITS)
def test_the_limit_counts_bytes(shared: Worker, size: int, code: str | None) -> None:
    key, text = shared.create(), padded(size)
    assert len(text.encode()) == size
    if code is None:
        shared.call("PutKeyPolicy", key_id=key.key_id, policy=text)
        assert shared.call("GetKeyPolicy", key_id=key.key_id).policy == text
    else:
        assert shared.refusal("PutKeyPolicy", key_id=key.key_id, policy=text).code == code


@pytest.mark.parametrize("character", ["\0", "\x0b", "\x1f", "\u0100", "\u2028", "\U0001f511"])
def test_characters_that_no_policy_has(shared: Worker, character: str) -> None:
    text = document({**ACCOUNT, "Sid": "x"}).replace('"x"', f'"{character}"')
    assert shared.refusal("PutKeyPolicy", key_id=shared.create().key_id, policy=text).code == "ValidationException"


# --- the lock-out check ----------------------------------------------------------------------------------------------

WITHOUT_PUT = ("kms:Encrypt", "kms:Get*")
LOCK_OUTS: list[tuple[str, bool, dict[str, Any]]] = [
    ("names the caller", True, statement([ALICE])),
    ("leaves it to the account, whose identity policies allow it", True, ACCOUNT),
    ("names somebody else", False, statement([BOB])),
    ("names another account", False, statement([EVE])),
    ("names another account's root", False, statement({"AWS": EVE.account})),
    ("lets the caller do other things", False, statement([ALICE], *WITHOUT_PUT)),
    ("lets the account do other things", False, statement({"AWS": ROOT}, *WITHOUT_PUT)),
    ("has no action, so no effect", False, {"Effect": "Allow", "Principal": "*", "Resource": "*"}),
    ("allows it to everybody", True, statement("*")),
    ("allows it to those who do not bypass the check", True, statement("*", Condition={
        "Bool": {"kms:BypassPolicyLockoutSafetyCheck": "false"}})),
    ("allows it to another address", False, statement("*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})),
    ("allows it for a tag that this request alone has", False, statement("*", Condition={
        "StringEquals": {"aws:RequestTag/team": "blue"}})),
    ("allows it for the key's tag", True, statement("*", Condition={"StringEquals": {"aws:ResourceTag/team": "blue"}})),
]  # fmt: skip


@pytest.mark.parametrize(("why", "passes", "one"), LOCK_OUTS, ids=[row[0] for row in LOCK_OUTS])
def test_the_lock_out_check(shared: Worker, why: str, passes: bool, one: dict[str, Any]) -> None:
    key, text = shared.create(), document(one)
    tags = [{"tag_key": "team", "tag_value": "blue"}]
    shared.call("TagResource", key_id=key.key_id, tags=tags)
    for operation, fields in (("PutKeyPolicy", {"key_id": key.key_id}), ("CreateKey", {"tags": tags})):
        if passes:
            assert shared.call(operation, policy=text, **fields) is not None, why
            continue
        refusal = shared.refusal(operation, policy=text, **fields)
        assert (refusal.code, refusal.text) == ("MalformedPolicyDocumentException", LOCKED_OUT), why
        shared.call(operation, policy=text, bypass_policy_lockout_safety_check=True, **fields)


def test_a_deny_locks_out(shared: Worker) -> None:
    text = document(ACCOUNT, statement([ALICE], "kms:PutKeyPolicy", effect="Deny"))
    key = shared.create()
    assert shared.refusal("PutKeyPolicy", key_id=key.key_id, policy=text).text == LOCKED_OUT
    shared.call("PutKeyPolicy", by=BOB, key_id=key.key_id, policy=text)
    assert shared.refusal("PutKeyPolicy", key_id=key.key_id, policy=TEXT).code == "AccessDeniedException"


def ruled(make_host: Callable[..., Host], policy: str) -> Host:
    """Makes a service in which alice has one identity policy."""
    callers = [{**caller._asdict(), "arn": caller.arn, "policies": ["full-access"]} for caller in (ALICE, BOB, EVE)]
    callers[0]["policies"] = [policy]
    return make_host(principals=callers)


def test_identity_policies_count_in_the_lock_out_check(make_host: Callable[..., Host]) -> None:
    """The account's statement leaves it to identity policies, and alice's does not allow PutKeyPolicy."""
    own = {"Effect": "Allow", "Action": ["kms:CreateKey", "kms:Encrypt"], "Resource": "*"}
    worker = ruled(make_host, document(own)).worker()
    assert worker.refusal("CreateKey", policy=TEXT).text == LOCKED_OUT
    assert worker.call("CreateKey", policy=document(ACCOUNT, statement([ALICE], "kms:Put*")))
    assert worker.call("CreateKey", policy=TEXT, bypass_policy_lockout_safety_check=True)
    assert worker.call("CreateKey"), "the default policy is not judged"


@pytest.mark.parametrize("operation", ["PutKeyPolicy", "CreateKey"])
def test_who_may_bypass_the_check(make_host: Callable[..., Host], operation: str) -> None:
    allow = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
    bypass = {"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "true"}}
    worker = ruled(make_host, document(allow, {**allow, "Effect": "Deny", "Condition": bypass})).worker()
    named = {"key_id": worker.create().key_id} if operation == "PutKeyPolicy" else {}
    fields = named | {"policy": ALICE_ONLY}
    refusal = worker.refusal(operation, bypass_policy_lockout_safety_check=True, **fields)
    assert refusal.code == "AccessDeniedException"
    assert worker.call(operation, **fields) is not None


def test_the_name_of_the_policy_is_a_condition(make_host: Callable[..., Host]) -> None:
    allow = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
    ours = {**allow, "Effect": "Deny", "Condition": {"StringEquals": {"kms:PolicyName": "default"}}}
    worker = ruled(make_host, document(allow, ours)).worker()
    key = worker.create()
    for fields in ({}, {"policy_name": "default"}):
        assert worker.refusal("GetKeyPolicy", key_id=key.key_id, **fields).code == "AccessDeniedException"
    assert worker.refusal("GetKeyPolicy", key_id=key.key_id, policy_name="AWS_RAM").code == "NotFoundException"


# --- obeyed at once, in every state ----------------------------------------------------------------------------------


def test_a_policy_is_obeyed_by_every_worker_at_once(host: Host) -> None:
    workers = host.worker(), host.worker()
    key = workers[0].create()
    by_bob: dict[str, Any] = {"by": BOB, "key_id": key.key_id}
    for worker in workers:
        for _ in range(2):
            worker.call("Encrypt", plaintext=b"p", **by_bob)
        assert worker.is_warm("Encrypt", plaintext=b"p", **by_bob)
    batch: dict[str, Any] = {"by": BOB, "key_id": key.key_id, "items": [{"plaintext": b"p"}]}
    assert workers[1].call("EncryptBatch", **batch).results[0].ciphertext_blob
    workers[0].call("PutKeyPolicy", key_id=key.key_id, policy=ALICE_ONLY)
    for worker in workers:
        assert worker.refusal("Encrypt", plaintext=b"p", **by_bob).code == "AccessDeniedException"
        assert not worker.call("EncryptBatch", **batch).results[0].ciphertext_blob
        assert worker.call("GetKeyPolicy", key_id=key.key_id).policy == ALICE_ONLY
    workers[1].call("PutKeyPolicy", key_id=key.key_id, policy=document(statement([ALICE, BOB])))
    for worker in workers:
        assert worker.call("Encrypt", plaintext=b"p", **by_bob)


def test_a_policy_shares_a_key_with_another_account(shared: Worker) -> None:
    """Both sides must allow it: EVE has full access in her account."""
    use = statement([EVE], "kms:Encrypt", "kms:DisableKey")
    key = shared.call("CreateKey", policy=document(statement([ALICE]), use)).key_metadata
    assert shared.call("Encrypt", by=EVE, key_id=key.arn, plaintext=b"p")
    assert shared.refusal("Decrypt", by=EVE, ciphertext_blob=shared.encrypt(key.key_id)).code == "AccessDeniedException"
    assert shared.refusal("DisableKey", by=EVE, key_id=key.arn).code == "AccessDeniedException"
    assert shared.refusal("Encrypt", by=BOB, key_id=key.arn, plaintext=b"p").code == "AccessDeniedException"


@pytest.mark.parametrize("state", KeyState)
def test_every_state_takes_a_policy(shared: Worker, state: KeyState) -> None:
    key = shared.create(state=state)
    shared.call("PutKeyPolicy", key_id=key.key_id, policy=ALICE_ONLY)
    assert shared.call("GetKeyPolicy", key_id=key.key_id).policy == ALICE_ONLY


def test_a_policy_is_recorded_in_the_audit(worker: Worker) -> None:
    key = worker.create()
    worker.outbox()
    worker.call("PutKeyPolicy", key_id=key.key_id, policy=ALICE_ONLY)
    (record,) = worker.outbox()
    assert record["eventName"] == "PutKeyPolicy"
    assert record["requestParameters"] == {"keyId": key.key_id, "policy": ALICE_ONLY}


# --- damage ----------------------------------------------------------------------------------------------------------

DAMAGES = {
    "the row is gone": "DELETE FROM key_policies",
    "its text was changed": "UPDATE key_policies SET policy = replace(policy, 'Allow', 'Deny')",
    "its MAC was changed": "UPDATE key_policies SET mac = zeroblob(32)",
}


@pytest.mark.parametrize("damaging", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_policy_makes_the_key_unavailable(host: Host, damaging: str) -> None:
    worker = host.worker()
    key = worker.call("CreateKey", policy=document(ACCOUNT)).key_metadata
    with closing(sqlite3.connect(shard_path(host))) as shard:
        shard.execute(damaging)
        shard.commit()
    fresh = host.worker()
    for name, fields in (("Encrypt", {"plaintext": b"p"}), ("DescribeKey", {}), ("GetKeyPolicy", {})):
        refusal = fresh.refusal(name, key_id=key.key_id, **fields)
        assert (refusal.code, refusal.key) == ("KeyUnavailableException", key.arn), name
        assert key.arn in refusal.text
    replaced = fresh.refusal("PutKeyPolicy", key_id=key.key_id, policy=TEXT)
    assert replaced.code == "KeyUnavailableException", "who may replace it stands in the policy"


def test_an_older_policy_makes_the_key_unavailable(host: Host) -> None:
    """The row of an earlier policy has a good MAC, but not the digest that the key's row has."""
    worker = host.worker()
    key = worker.call("CreateKey", policy=document(ACCOUNT)).key_metadata
    columns = "key_id, digest, account, policy, mac"
    with closing(sqlite3.connect(shard_path(host))) as shard:
        shard.execute(f"CREATE TEMP TABLE kept AS SELECT {columns} FROM key_policies")
        worker.call("PutKeyPolicy", key_id=key.key_id, policy=ALICE_ONLY)
        shard.execute("DELETE FROM key_policies")
        shard.execute(f"INSERT INTO key_policies ({columns}) SELECT {columns} FROM kept")
        shard.commit()
    assert host.worker().refusal("Encrypt", key_id=key.key_id, plaintext=b"p").code == "KeyUnavailableException"


def test_a_deleted_key_takes_its_policy_along(worker: Worker) -> None:
    key = worker.call("CreateKey", policy=ALICE_ONLY).key_metadata
    shard = worker.shard()
    stored = shard.find_key(key.key_id)
    assert stored is not None
    with shard.writing() as transaction:
        transaction.keys.remove(stored)
    assert damaged_rows(shard.registry) == []
    refusal = worker.refusal("GetKeyPolicy", key_id=key.key_id)
    assert refusal.code == "NotFoundException"


def shard_path(host: Host) -> Path:
    return host.settings.data_dir / "regions" / f"{HOME}.sqlite"


# --- compiled policies -----------------------------------------------------------------------------------------------


def test_a_policy_is_compiled_once_per_version(worker: Worker) -> None:
    keys = [worker.call("CreateKey", policy=ALICE_ONLY).key_metadata.key_id for _ in range(2)]
    found = [worker.shard().find_key(key_id) for key_id in keys]
    policies = StoredKeyPolicies(worker.service.shards.key_policy)
    assert found[0] is not None
    assert found[1] is not None
    assert policies(found[0]) is policies(found[0])
    assert policies(found[0]) is policies(found[1]), "two keys with one text share it"
    worker.call("PutKeyPolicy", key_id=keys[0], policy=document(ACCOUNT))
    newer = worker.shard().find_key(keys[0])
    assert newer is not None
    assert policies(newer).every != policies(found[1]).every


def test_compiled_policies_are_bounded(worker: Worker) -> None:
    keys = [worker.call("CreateKey", policy=document(ACCOUNT, Id=f"p{number}")).key_metadata for number in range(20)]
    policies = StoredKeyPolicies(worker.service.shards.key_policy, cached_characters=1_000)
    for key in keys:
        found = worker.shard().find_key(key.key_id)
        assert found is not None
        assert policies(found).every
        assert policies.cached <= 1_000


def test_a_key_that_is_older_than_its_policy(worker: Worker) -> None:
    """A worker has read a key, and another one replaces its policy before it reads the policy."""
    key = worker.call("CreateKey", policy=document(ACCOUNT)).key_metadata
    before = worker.shard().find_key(key.key_id)
    assert before is not None
    worker.call("PutKeyPolicy", key_id=key.key_id, policy=ALICE_ONLY)
    policies = StoredKeyPolicies(worker.service.shards.key_policy)
    assert worker.shard().key_policy(before) == ALICE_ONLY
    (one,) = policies(before).every
    assert one.principals is not None
    assert one.principals.arns == {ALICE.arn}
    worker.call("PutKeyPolicy", key_id=key.key_id, policy=document(ACCOUNT))
    (one,) = policies(before).every
    assert one.principals is not None
    assert not one.principals.arns, "the digest means the first policy again"


def test_a_repeated_create_gets_the_same_key(worker: Worker) -> None:
    made = [worker.call("CreateKey", request_id="r-1", policy=ALICE_ONLY).key_metadata.key_id for _ in range(2)]
    assert made[0] == made[1]
