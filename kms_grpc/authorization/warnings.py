"""Warnings about a policy that is valid: statements that can never match, and conditions that protect nothing.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html and
https://docs.aws.amazon.com/kms/latest/developerguide/kms-api-permissions-reference.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kms_grpc.authorization.base import PolicyKind
from kms_grpc.authorization.condition_keys import key_of
from kms_grpc.authorization.operators import NULL, OPERATORS
from kms_grpc.authorization.patterns import Pattern, matches
from kms_grpc.authorization.policy import Condition, Quantifier, Statement
from kms_grpc.model.permissions import ACTIONS, GRANT_OPERATIONS

VALUES: Final = {
    "kms:grantoperations": GRANT_OPERATIONS,
    "kms:keyusage": (
        "ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT", "ENCAPSULATE_DECAPSULATE",
    ),
    "kms:keyorigin": ("AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"),
    "kms:policyname": ("default", "AWS_RAM"),
    "kms:expirationmodel": ("KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"),
    "kms:grantconstrainttype": ("EncryptionContextEquals", "EncryptionContextSubset"),
}  # fmt: skip
"""All values that a condition key can have, for keys with few."""


def warnings_about(statements: Sequence[Statement]) -> list[str]:
    """Returns what a writer of these statements should look at, each with its place."""
    found = []
    for statement in statements:
        place = f"Statement[{statement.named.place}]"
        found += [f"{place}{said}" for said in (*_of_actions(statement), *_of_conditions(statement))]
    return found


def _of_actions(statement: Statement) -> Iterator[str]:
    if not statement.actions:
        yield ": without Action it has no effect"
    if not statement.resources:
        yield ": without Resource it has no effect"
    for pattern in statement.actions:
        if not any(matches(pattern, action.lower()) for action in ACTIONS):
            yield f".Action: {pattern.text} is no action of this service, so it never matches"
    of_key = statement.named.kind is PolicyKind.KEY
    if of_key and statement.allows and [pattern.text for pattern in statement.actions] == ["kms:retiregrant"]:
        yield ".Action: kms:RetireGrant cannot be allowed by a key policy; the grant says who retires it"
    for pattern in statement.resources:
        if of_key and pattern.text != "*" and ":key/" not in pattern.text and "*" not in pattern.text:
            yield f".Resource: {pattern.text} is not a key, so it never matches"


def _of_conditions(statement: Statement) -> Iterator[str]:
    for condition in statement.conditions:
        key = key_of(condition.key)
        name = f"{key.name}{condition.key.suffix}"
        place = f".Condition.{condition.operator}.{name}"
        if key.find is None:
            yield f"{place}: {_of_absent(statement, condition)}"
        for value in _impossible(condition):
            yield f"{place}: {value} is no value of {name}, so it never matches"


def _impossible(condition: Condition) -> Iterator[str]:
    """Yields the values of a condition that its key never has."""
    allowed = VALUES.get(condition.key.name)
    if allowed is None or "IgnoreCase" in condition.operator:
        return
    for value in condition.values:
        if isinstance(value, Pattern) and not value.variables and not any(matches(value, one) for one in allowed):
            yield value.text


def _of_absent(statement: Statement, condition: Condition) -> str:
    """Says what a condition on a key does that no request here has."""
    if condition.operator == NULL:
        holds = True in condition.values
    else:
        negated = OPERATORS[condition.operator].negated and condition.quantifier is Quantifier.NONE
        holds = condition.if_exists or condition.quantifier is Quantifier.ALL or negated
    said = "is never known here, so the condition"
    if statement.allows:
        return f"the key {said} always holds and restricts nothing" if holds else f"the key {said} never holds"
    if holds:
        return f"the key {said} always holds: the statement denies every call that it is about"
    return f"the key {said} never holds: the statement denies nothing"
