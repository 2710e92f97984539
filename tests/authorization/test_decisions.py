"""Decisions as plain data: what they read, which statement decided, and the named policies."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from kms_grpc.authorization.authorizer import Policies
from kms_grpc.authorization.base import STABLE_ATTRIBUTES, Deciding, DecidingStep, PolicyKind, Question
from kms_grpc.authorization.caller import caller_of
from kms_grpc.authorization.default_key_policy import default_key_policy, default_statements
from kms_grpc.authorization.identity_policies import identity
from kms_grpc.authorization.parsing import parse
from kms_grpc.model.principal import Principal
from tests.authorization.cases import (
    ACCOUNT,
    ALICE,
    DELEGATING,
    FOREIGN,
    KEY,
    KEY_ARN,
    REGION,
    SESSION,
    Case,
    allow,
    deny,
    policy,
    when,
)  # fmt: skip

NO_CRYPTOGRAPHY = ("Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "Sign", "GenerateMac")
NAMED = [
    ("administrator", ("CreateKey", "PutKeyPolicy", "ScheduleKeyDeletion", "ListKeys", "TagResource", "GetPublicKey",
                       "EnableKeyRotation", "ImportKeyMaterial", "CreateAlias", "RotateKeyOnDemand"),
     (*NO_CRYPTOGRAPHY, "GenerateRandom")),
    ("user", (*NO_CRYPTOGRAPHY, "DescribeKey", "GenerateRandom", "GenerateDataKeyWithoutPlaintext"),
     ("CreateKey", "PutKeyPolicy", "DisableKey", "ListKeys", "CreateGrant", "ScheduleKeyDeletion")),
    ("reader", ("ListKeys", "ListAliases", "DescribeKey", "GetKeyPolicy", "GetPublicKey", "ListResourceTags"),
     (*NO_CRYPTOGRAPHY, "GetParametersForImport", "CreateKey", "DisableKey", "TagResource")),
    ("auditor", ("ListKeys", "DescribeKey", "GetKeyRotationStatus", "ListGrants"),
     (*NO_CRYPTOGRAPHY, "GetParametersForImport", "DisableKey")),
    ("full-access", (*NO_CRYPTOGRAPHY, "CreateKey", "PutKeyPolicy", "GenerateRandom"), ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "allowed", "denied"), NAMED, ids=[row[0] for row in NAMED])
def test_the_named_policies(name: str, allowed: tuple[str, ...], denied: tuple[str, ...]) -> None:
    known = {"caller": identity("caller", [name], {})}
    authorizer = Policies(lambda: known)
    principal = Principal("caller", ALICE, ACCOUNT)
    answers = {
        action: authorizer.decide(Question(principal, f"kms:{action}", KEY, {})).allowed for action in allowed + denied
    }
    assert answers == dict.fromkeys(allowed, True) | dict.fromkeys(denied, False)


EXPLAINS = [("administrator", True), ("auditor", True), ("full-access", True), ("reader", False), ("user", False)]


@pytest.mark.parametrize(("name", "allowed"), EXPLAINS)
def test_who_may_have_decisions_explained(name: str, allowed: bool) -> None:
    known = {"caller": identity("caller", [name], {})}
    authorizer = Policies(lambda: known)
    question = Question(Principal("caller", ALICE, ACCOUNT), "kms-grpc:ExplainDecision", None, {})
    assert authorizer.decide(question).allowed == allowed


OWN, OF_KEY = PolicyKind.IDENTITY, PolicyKind.KEY
DECIDED = [
    ("an allow of an identity policy", Case("", "", True, [allow("kms:Encrypt"), allow(Sid="All")]),
     DecidingStep.ALLOWED, Deciding(OWN, "p", "All", 1)),
    ("an allow of the key policy", Case("", "", True, key_policy=[DELEGATING, {**DELEGATING, "Principal": "*"}]),
     DecidingStep.ALLOWED, Deciding(OF_KEY, "default", "", 1)),
    ("a deny of an identity policy", Case("", "", False, [allow(), deny(Sid="No")]),
     DecidingStep.EXPLICIT_DENY, Deciding(OWN, "p", "No", 1)),
    ("a deny of the key policy",
     Case("", "", False, [allow()], [{**deny(Sid="Never"), "Principal": "*"}]),
     DecidingStep.EXPLICIT_DENY, Deciding(OF_KEY, "default", "Never", 0)),
    ("no allow of an identity policy", Case("", "", False), DecidingStep.NO_IDENTITY_POLICY, None),
    ("no allow of the key policy", Case("", "", False, [allow()], by=FOREIGN), DecidingStep.NO_KEY_POLICY, None),
    ("an action that stays in its account",
     Case("", "", False, [allow()], [{**DELEGATING, "Principal": "*"}], FOREIGN, "kms:DisableKey"),
     DecidingStep.NOT_ACROSS_ACCOUNTS, None),
]  # fmt: skip


@pytest.mark.parametrize(("why", "case", "step", "deciding"), DECIDED, ids=[row[0] for row in DECIDED])
def test_the_deciding_statement(why: str, case: Case, step: DecidingStep, deciding: Deciding | None) -> None:
    decision = case.decision()
    assert (decision.allowed, decision.step, decision.deciding) == (case.allowed, step, deciding)
    assert pickle.loads(pickle.dumps(decision)) == decision  # plain data


READ = [
    ("nothing but the caller and the key", [allow()], set()),
    ("the key", [allow(**when("StringEquals", "kms:KeySpec", "SYMMETRIC_DEFAULT"))], set()),
    ("the caller", [allow(**when("StringEquals", "kms:CallerAccount", ACCOUNT))], set()),
    ("the region", [allow(**when("StringEquals", "aws:RequestedRegion", REGION))], {"region"}),
    ("the encryption context", [allow(**when("Null", "kms:EncryptionContextKeys", True))], {"encryption_context"}),
    ("the address", [allow(), deny(**when("IpAddress", "aws:SourceIp", "10.0.0.0/8"))], {"address"}),
    ("the time", [allow(), deny(**when("DateLessThan", "aws:CurrentTime", "2020-01-01"))], {"time"}),
    ("tags", [allow(**when("StringEquals", "aws:ResourceTag/a", "b"))], {"tags"}),
    ("tags, by a variable", [allow(**when("StringEquals", "aws:userid", "${aws:ResourceTag/a, 'caller'}"))], {"tags"}),
    ("aliases", [allow(**when("ForAnyValue:StringEquals", "kms:ResourceAliases", "alias/a"))], {"aliases"}),
    ("the request", [allow(**when("Null", "kms:RequestAlias", True))], {"request"}),
    ("not what a statement of another action asks",
     [allow(), deny("kms:Encrypt", **when("Null", "aws:SourceIp", False))], set()),
    ("not what a statement of another key asks",
     [allow(), deny(resource=KEY_ARN + "x", **when("Null", "aws:SourceIp", True))], set()),
]  # fmt: skip


@pytest.mark.parametrize(("what", "statements", "read"), READ, ids=[row[0] for row in READ])
def test_what_a_decision_has_read(what: str, statements: list[dict[str, object]], read: set[str]) -> None:
    assert Case("", "", True, statements).decision().read == {"principal", "operation", "key"} | read


def test_only_what_a_permit_is_found_by_is_stable() -> None:
    assert {"principal", "operation", "key", "region"} == STABLE_ATTRIBUTES


def test_the_default_policy_names_the_keys_own_account_and_partition() -> None:
    china = dataclasses.replace(KEY, arn=KEY_ARN.replace("arn:aws:", "arn:aws-cn:").replace(REGION, "cn-north-1"))
    assert f'"AWS" : "arn:aws-cn:iam::{ACCOUNT}:root"' in default_key_policy(china)
    assert default_statements(china).every == parse(default_key_policy(china), PolicyKind.KEY, "default")
    assert default_statements(KEY).every != default_statements(china).every


def test_the_role_of_a_session() -> None:
    """Its ARN does not tell the role's path, so that a role with one is given."""
    principal = Principal("s", SESSION, ACCOUNT)
    assert caller_of(principal).role == f"arn:aws:iam::{ACCOUNT}:role/ExampleRole"
    assert (
        caller_of(principal, role="arn:aws:iam::111122223333:role/ci/ExampleRole").arns[1].endswith("/ci/ExampleRole")
    )
    assert caller_of(Principal("a", ALICE, ACCOUNT)).role is None


def test_compiled_policies_are_plain_data() -> None:
    """They hold no callables, so that they can be copied, compared and sent elsewhere."""
    text = policy(
        allow(**when("StringLike", "aws:userid", "${aws:username}*")), deny(**when("Null", "aws:userid", True))
    )
    compiled = parse(text, PolicyKind.IDENTITY, "p")
    assert copy.deepcopy(compiled) == compiled == pickle.loads(pickle.dumps(compiled))
