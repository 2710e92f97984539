"""Random policies and requests: the authorizer and the second evaluator agree.

The names are few, so that statements match often, and differ in ways that matter: case, wildcards, accounts, sessions.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.authorization.cases import (
    ACCOUNT,
    ALICE,
    DELEGATING,
    FOREIGN,
    FOREIGN_ROOT,
    KEY,
    KEY_ARN,
    ROLE,
    ROOT,
    SESSION,
    Case,
    policy,
)  # fmt: skip
from tests.authorization.second_evaluator import allowed as second_answer
from tests.authorization.test_aws_cases import request_of

ACTIONS = [
    "kms:Decrypt",
    "KMS:decrypt",
    "kms:De*",
    "kms:*",
    "*",
    "kms:Encrypt",
    "kms:?ncrypt",
    "s3:*",
    "kms:DisableKey",
]
CALLED = ["kms:Decrypt", "kms:Encrypt", "kms:DisableKey", "kms:CreateKey"]
RESOURCES = [
    "*", KEY_ARN, f"arn:aws:kms:*:{ACCOUNT}:key/*", "arn:aws:kms:*", KEY_ARN + "?", f"arn:aws:kms:*:{ACCOUNT}:alias/*",
    f"arn:aws:kms:*:{ACCOUNT}:key/${{aws:PrincipalTag/t}}", "arn:aws:kms:${aws:RequestedRegion}:*:*",
    "arn:aws:kms:*:*:key/${aws:PrincipalTag/t, '1234abcd-12ab-34cd-56ef-1234567890ab'}",
]  # fmt: skip
PRINCIPALS: list[Any] = [
    "*", *({"AWS": each} for each in ("*", ALICE, ROLE, SESSION, ROOT, FOREIGN, FOREIGN_ROOT, ACCOUNT)),
    {"AWS": [ROOT, ALICE]}, {"AWS": [ROLE, SESSION, ROOT]}, {"AWS": [ROLE, ROOT]}, {"Service": "s3.amazonaws.com"},
]  # fmt: skip
TEXTS = ["a", "A", "a*", "b", "?", "${*}", "${aws:PrincipalTag/t}", "${aws:username}", "${aws:username, 'b'}", "alice"]
ARNS = [ALICE, ROLE, SESSION, "arn:aws:iam::*:user/*", "*", "arn:*", "arn:aws:iam::${aws:PrincipalAccount}:role/*"]
KINDS = {
    ("StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike",
     "StringNotLike"): (TEXTS, ["kms:EncryptionContext:p", "aws:PrincipalTag/t", "aws:PrincipalOrgID", "aws:TagKeys",
                               "kms:EncryptionContextKeys", "aws:username"]),
    ("ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"): (ARNS, ["aws:PrincipalArn", "kms:EncryptionContext:p"]),
    ("NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan",
     "NumericGreaterThanEquals"): (["7", "7.0", "8"], ["kms:RotationPeriodInDays", "kms:EncryptionContext:p"]),
    ("DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals"): (
        ["2026-11-30T00:00:00Z", "2026-11-30T01:00:00+01:00", "1796083200"], ["aws:CurrentTime", "aws:TokenIssueTime"]),
    ("Bool",): (["true", "False", True], ["aws:SecureTransport", "kms:MultiRegion", "aws:MultiFactorAuthPresent"]),
    ("IpAddress", "NotIpAddress"): (["10.0.0.0/8", "10.1.2.3", "::1/128"], ["aws:SourceIp", "kms:EncryptionContext:p"]),
    ("BinaryEquals",): (["QQ==", "Qg=="], ["kms:EncryptionContext:p"]),
    ("Null",): (["true", "false"], ["kms:EncryptionContext:p", "aws:username", "aws:PrincipalOrgID"]),
}  # fmt: skip


def some(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values) | st.lists(st.sampled_from(values), min_size=1, max_size=2)


@st.composite
def conditions(draw: st.DrawFn, of_key: bool) -> dict[str, Any]:
    operators = draw(st.sampled_from(list(KINDS)))
    operator, (values, keys) = draw(st.sampled_from(operators)), KINDS[operators]
    quantifier = "" if operator == "Null" else draw(st.sampled_from(["", "", "ForAllValues:", "ForAnyValue:"]))
    suffix = "" if operator == "Null" else draw(st.sampled_from(["", "", "IfExists"]))
    allowed = [key for key in keys if not (of_key and quantifier and key == "kms:EncryptionContext:p")]
    key = draw(st.sampled_from(allowed or ["kms:ViaService"]))
    return {quantifier + operator + suffix: {draw(st.sampled_from([key, key.upper()])): draw(some(values))}}


@st.composite
def statements(draw: st.DrawFn, of_key: bool) -> dict[str, Any]:
    effect = draw(st.sampled_from(["Allow", "Allow", "Deny"]))
    action = draw(st.sampled_from(["Action", "Action", "NotAction"]))
    resource = draw(st.sampled_from(["Resource", "Resource", "NotResource"]))
    made = {"Effect": effect, action: draw(some(ACTIONS)), resource: draw(some(RESOURCES))}
    for condition in draw(st.lists(conditions(of_key), max_size=2)):
        made.setdefault("Condition", {}).update(condition)
    if of_key:
        kind = draw(st.sampled_from(["Principal", "NotPrincipal"])) if effect == "Deny" else "Principal"
        made[kind] = draw(st.sampled_from(PRINCIPALS))
    return made


REQUEST = {
    "by": st.sampled_from([ALICE, ROLE, SESSION, ROOT, FOREIGN, FOREIGN_ROOT]),
    "action": st.sampled_from(CALLED),
    "context": st.dictionaries(
        st.sampled_from(["p", "P", "q"]), st.sampled_from(["a", "A", "b", "7", "10.1.2.3", "QQ==", ALICE, "a*"])
    ),
    "tags": st.dictionaries(st.just("t"), st.sampled_from(["a", "*", KEY_ARN.rpartition("/")[2]])),
    "service": st.sampled_from([None, None, "s3.amazonaws.com"]),
    "key": st.sampled_from([KEY, KEY, None]),
    "version": st.sampled_from(["2012-10-17", "2012-10-17", None]),
    "facts": st.fixed_dictionaries(
        {},
        optional={
            "aws:SourceIp": st.sampled_from(["10.1.2.3", "::ffff:10.1.2.3", "::1"]),
            "aws:CurrentTime": st.sampled_from(["2026-11-30T00:00:00Z", "2026-11-30T00:00:01Z"]),
            "aws:SecureTransport": st.sampled_from(["true", "false"]),
            "kms:RotationPeriodInDays": st.sampled_from(["7", "9"]),
            "aws:TagKeys": st.sampled_from([["a"], ["a", "b"]]),
            "aws:RequestedRegion": st.just("eu-central-1"),
        },
    ),
}
CASES = st.builds(
    Case,
    page=st.just(""),
    why=st.just(""),
    allowed=st.just(False),
    identity=st.lists(statements(of_key=False), max_size=3),
    key_policy=st.lists(statements(of_key=True) | st.just(DELEGATING), min_size=1, max_size=3),
    **REQUEST,
)


@settings(max_examples=1500, deadline=None)
@given(CASES)
def test_both_evaluators_agree(case: Case) -> None:
    own = [policy(*case.identity, version=case.version)] if case.identity else []
    of_key = None if case.key is None else policy(*case.key_policy, version=case.version)
    decision = case.decision()
    assert decision.allowed == second_answer(own, of_key, request_of(case)), decision


@settings(max_examples=300, deadline=None)
@given(CASES, CASES)
def test_what_was_not_read_does_not_matter(case: Case, other: Case) -> None:
    """A Permit relies on it: a request that differs only in what the decision has not read gets the same decision."""
    decision = case.decision()
    unread: dict[str, Any] = {}
    if "encryption_context" not in decision.read:
        unread["context"] = other.context
    if decision.read <= {"principal", "operation", "key", "region"}:
        unread["facts"] = {**other.facts, "aws:RequestedRegion": case.facts.get("aws:RequestedRegion", ())}
    assert case._replace(**unread).decision() == decision
