"""ExplainDecision: it agrees with the calls themselves, names the statement that decides, and hides what is another
account's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from kms_grpc.authorization.authorizer import WITHOUT_KEY
from kms_grpc.operations.table import TABLE
from kms_grpc.v1 import keys_pb2
from tests.operations.service import ALICE, BOB, EVE, HOME, Host, Worker

Make = Callable[..., Worker]

TEXT = """{
  "Version": "2012-10-17",
  "Statement": [
    {"Sid": "Use", "Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt", "kms:CreateKey"], "Resource": "*"},
    {
      "Sid": "Never",
      "Effect": "Deny",
      "Action": "kms:Decrypt",
      "Resource": "*",
      "Condition": {"StringEquals": {"kms:EncryptionContext:app": "pay"}}
    },
    {"Effect": "Deny", "Action": "kms:Encrypt", "Resource": "*",
     "Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}},
    {"Effect": "Deny", "Action": "kms:DescribeKey", "Resource": "*"}
  ]
}"""


@pytest.fixture
def ruled(make_host: Callable[..., Host]) -> Make:
    """Makes a service in which bob has the policy TEXT, and the others full access."""

    def make(policy: str = TEXT, **changes: Any) -> Worker:
        callers = [{**caller._asdict(), "arn": caller.arn, "policies": ["full-access"]} for caller in (ALICE, BOB, EVE)]
        callers[1] |= {"policies": [policy]}
        return make_host(principals=callers, **changes).worker()

    return make


def explain(worker: Worker, action: str, by: Any = ALICE, of: Any = BOB, **fields: Any) -> Any:
    return worker.call("ExplainDecision", by=by, principal=of.arn, action=action, **fields)


IN = [{"name": "aws:SourceIp", "values": ["10.1.2.3"]}]
OUT = [{"name": "AWS:sourceip", "values": ["192.0.2.1"]}]
DECIDED: list[tuple[str, str, dict[str, Any], bool, str, tuple[Any, ...]]] = [
    ("an allow", "kms:Decrypt", {}, True, "allowed", ("Use", 0, 4)),
    ("the context counts", "kms:Decrypt", {"encryption_context": {"app": "pay"}}, False, "explicitDeny",
     ("Never", 1, 5)),
    ("another context", "kms:Decrypt", {"encryption_context": {"app": "shop"}}, True, "allowed", ("Use", 0, 4)),
    ("the address counts", "kms:Encrypt", {"conditions": OUT}, False, "explicitDeny", ("", 2, 12)),
    ("a good address", "kms:Encrypt", {"conditions": IN}, True, "allowed", ("Use", 0, 4)),
    ("without an address a negated operator holds", "kms:Encrypt", {}, False, "explicitDeny", ("", 2, 12)),
    ("letters' case does not count", "KMS:decrypt", {}, True, "allowed", ("Use", 0, 4)),
    ("nothing allows it", "kms:DisableKey", {}, False, "noIdentityPolicyAllows", ()),
    ("a deny on one line", "kms:DescribeKey", {}, False, "explicitDeny", ("", 3, 14)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("why", "action", "fields", "allowed", "decision", "statement"), DECIDED, ids=[row[0] for row in DECIDED]
)
def test_the_decision_and_its_statement(
    ruled: Make, why: str, action: str, fields: dict[str, Any], allowed: bool, decision: str, statement: tuple[Any, ...]
) -> None:
    worker = ruled()
    key = worker.create()
    answer = explain(worker, action, key_id=key.key_id, **fields)
    assert (answer.allowed, answer.decision) == (allowed, decision)
    assert (answer.principal_is_configured, answer.key_id) == (True, key.arn)
    if statement:
        assert (answer.sid, answer.statement, answer.line) == statement
        assert (answer.policy_type, answer.policy) == ("identity policy", "policies[0]")
        assert f"(line {statement[2]})" in answer.explanation
    else:
        assert not answer.HasField("policy_type")
        assert "none of the principal's allows it" in answer.explanation


@pytest.mark.parametrize("context", [{"app": "pay"}, {"app": "shop"}, {}])
def test_it_agrees_with_the_call_and_its_audit_record(ruled: Make, context: dict[str, str]) -> None:
    worker = ruled()
    key = worker.create()
    blob = worker.encrypt(key.key_id, encryption_context=context)
    answer = explain(worker, "kms:Decrypt", key_id=key.key_id, encryption_context=context)
    if answer.allowed:
        assert worker.call("Decrypt", by=BOB, ciphertext_blob=blob, encryption_context=context)
        return
    assert worker.refusal("Decrypt", by=BOB, ciphertext_blob=blob, encryption_context=context).code == (
        "AccessDeniedException"
    )
    recorded = worker.audit()[-1]["additionalEventData"]["authorization"]
    told = {"decision": answer.decision, "policyType": answer.policy_type, "policy": answer.policy}
    assert recorded == told | {"statement": answer.statement, "line": answer.line, "sid": answer.sid}


def test_an_action_without_a_key(ruled: Make) -> None:
    worker = ruled()
    assert explain(worker, "kms:CreateKey").allowed
    answer = explain(worker, "kms:ListKeys")
    assert (answer.allowed, answer.explanation) == (False, "No identity policy of the principal allows it.")


def test_depends_on_names_what_the_decision_has_read(ruled: Make) -> None:
    worker = ruled()
    key = worker.create()
    assert list(explain(worker, "kms:Decrypt", key_id=key.key_id).depends_on) == ["encryption_context"]
    assert list(explain(worker, "kms:CreateKey").depends_on) == []


KNOWN = [
    ("aws:RequestedRegion", HOME, True), ("aws:RequestedRegion", "xx-none-1", False),
    ("aws:ResourceTag/team", "red", True), ("aws:ResourceTag/team", "blue", False),
    ("kms:ResourceAliases", "alias/known", True), ("kms:RequestAlias", "alias/known", True),
    ("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT", True), ("aws:username", "bob", False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "allowed"), KNOWN)
def test_values_that_are_known_without_being_given(ruled: Make, name: str, value: str, allowed: bool) -> None:
    statement = {"Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*"}
    worker = ruled(json.dumps({"Statement": statement | {"Condition": {"StringEquals": {name: value}}}}))
    key = worker.create(alias="alias/known")
    worker.call("TagResource", key_id=key.key_id, tags=[{"tag_key": "team", "tag_value": "red"}])
    assert explain(worker, "kms:Encrypt", key_id="alias/known").allowed is allowed
    fields = {"key_id": "alias/known", "plaintext": b"p"}
    if allowed:
        assert worker.call("Encrypt", by=BOB, **fields)
    else:
        assert worker.refusal("Encrypt", by=BOB, **fields).code == "AccessDeniedException"


def test_the_state_of_the_key_is_told(ruled: Make) -> None:
    worker = ruled()
    key = worker.create()
    worker.call("DisableKey", key_id=key.key_id)
    answer = explain(worker, "kms:Decrypt", key_id=key.key_id)
    assert answer.allowed
    assert answer.key_state == keys_pb2.KEY_STATE_DISABLED


def test_an_unknown_principal_has_no_identity_policies(ruled: Make) -> None:
    worker = ruled()
    key = worker.create()
    nobody = f"arn:aws:iam::{ALICE.account}:role/nobody"
    answer = worker.call("ExplainDecision", principal=nobody, action="kms:Decrypt", key_id=key.key_id)
    assert (answer.allowed, answer.principal_is_configured) == (False, False)


def test_a_root_needs_no_identity_policy(ruled: Make) -> None:
    worker = ruled()
    root = f"arn:aws:iam::{ALICE.account}:root"
    answer = worker.call("ExplainDecision", principal=root, action="kms:CreateKey")
    assert (answer.allowed, answer.explanation) == (True, "The account's root needs no identity policy.")


def test_identity_policies_of_another_account_are_not_named(ruled: Make) -> None:
    """Eve's account asks about bob. His Deny counts first, but its name is his account's business."""
    worker = ruled()
    key = worker.create(by=EVE)
    answer = explain(worker, "kms:DescribeKey", by=EVE, key_id=key.arn)
    assert (answer.allowed, answer.policy_type, answer.policy, answer.sid, answer.line) == (
        False, "identity policy", "", "", 0,
    )  # fmt: skip
    assert answer.explanation == "A statement of an identity policy denies it. No allow counts against a deny."


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("no such action", {"action": "kms:Encyrpt"}, "ValidationException", "no operation needs the permission"),
    ("a pattern is no action", {"action": "kms:*"}, "ValidationException", "no operation needs the permission"),
    ("no principal's ARN", {"principal": "bob"}, "ValidationException", "is not the ARN of"),
    ("a pattern is no principal", {"principal": "arn:aws:iam::111122223333:user/*"}, "ValidationException", "ARN of"),
    ("a key is missing", {"action": "kms:Encrypt"}, "ValidationException", "needs a key"),
    ("a key too many", {"action": "kms:ListKeys", "key_id": "alias/a"}, "ValidationException", "has no key"),
    ("no such key", {"action": "kms:Encrypt", "key_id": "alias/none"}, "NotFoundException", "alias/none is not found"),
    ("no such condition key", {"conditions": [{"name": "aws:Nonsense", "values": ["1"]}]}, "ValidationException",
     "there is no condition key"),
    ("a key that follows from the principal", {"conditions": [{"name": "aws:username", "values": ["eve"]}]},
     "ValidationException", "cannot be given"),
    ("a key that no call has", {"conditions": [{"name": "aws:PrincipalOrgID", "values": ["o"]}]},
     "ValidationException", "cannot be given"),
    ("no values", {"conditions": [{"name": "aws:SourceIp"}]}, "ValidationException", "values"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "fields", "code", "text"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused_questions(ruled: Make, why: str, fields: dict[str, Any], code: str, text: str) -> None:
    refusal = ruled().refusal("ExplainDecision", **{"principal": BOB.arn, "action": "kms:ListKeys"} | fields)
    assert refusal.code == code
    assert text in refusal.text


def test_a_key_of_another_account_is_denied_whether_it_exists_or_not(ruled: Make) -> None:
    worker = ruled()
    there = worker.create(by=EVE).arn
    nowhere = there[:-12] + "000000000000"
    asked = {"principal": BOB.arn, "action": "kms:Encrypt"}
    refusals = {worker.refusal("ExplainDecision", key_id=arn, **asked).code for arn in (there, nowhere)}
    assert refusals == {"AccessDeniedException"}


def test_it_needs_its_permission(ruled: Make) -> None:
    refusal = ruled().refusal("ExplainDecision", by=BOB, principal=BOB.arn, action="kms:ListKeys")
    assert refusal.code == "AccessDeniedException"


def test_actions_without_a_key_are_those_of_the_table() -> None:
    assert {operation.action for operation in TABLE if operation.action} <= WITHOUT_KEY
    with_keys = {selector.action for operation in TABLE for selector in operation.keys}
    assert with_keys & WITHOUT_KEY == {"kms:ListAliases"}, "it may name a key, and needs none"
