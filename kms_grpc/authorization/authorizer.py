"""The authorizer: key policies, identity policies and grants, in AWS's order.

| step | question | answer |
|---|---|---|
| 1 | Does any statement deny it, of the identity policies or of the key policy? | denied |
| 2 | No key: does an identity policy allow it, or is the caller its account's root? | allowed, else denied |
| 3 | Is the key another account's, and the action not one that crosses accounts? | denied |
| 4 | Does the key policy allow the caller? And the key is in the caller's account? | allowed |
| 5 | Does the key policy allow the caller or its account, and an identity policy the call? | allowed |
| 6 | Does a grant allow the caller, or its account, and an identity policy the call? | allowed, else denied |

RetireGrant is decided by the grant that it ends, in place of steps 4 to 6 (grants.py).

Sources: https://docs.aws.amazon.com/kms/latest/developerguide/policy-evaluation.html and
https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-modifying-external-accounts.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from kms_grpc.authorization.base import DecidingStep, Decision, Question
from kms_grpc.authorization.caller import Caller, caller_of
from kms_grpc.authorization.default_key_policy import default_statements
from kms_grpc.authorization.evaluation import Reading, matches_request
from kms_grpc.authorization.grants import RETIRE, allowing, grantees_of, leaves_retiring_to, may_retire
from kms_grpc.authorization.identity_policies import NO_POLICIES, Identity
from kms_grpc.authorization.key_policies import compiled
from kms_grpc.authorization.policy import Statement, Statements
from kms_grpc.authorization.principals import Meant, meaning
from kms_grpc.model.grant import Grant
from kms_grpc.model.key import Key
from kms_grpc.model.principal import Principal

KeyPolicies = Callable[[Key], Statements]
"""Returns the compiled policy of a key."""

ALWAYS: Final = frozenset({"principal", "operation", "key"})
"""Attributes that every decision reads."""

ACROSS_ACCOUNTS: Final = frozenset(
    f"kms:{name}"
    for name in (
        "Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
        "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "GenerateMac", "VerifyMac", "Sign", "Verify",
        "DeriveSharedSecret", "Encapsulate", "Decapsulate", "DescribeKey", "GetPublicKey", "GetKeyRotationStatus",
        "CreateGrant", "ListGrants", "RetireGrant", "RevokeGrant",
    )
)  # fmt: skip
"""Actions that a key policy can allow to other accounts. Permission for another one has no effect there."""

WITHOUT_KEY: Final = frozenset(
    {
        "kms:CreateKey", "kms:GenerateRandom", "kms:ListAliases", "kms:ListKeys", "kms:ListRetirableGrants",
        "kms-grpc:ExplainDecision",
    }
)  # fmt: skip
"""Actions that have no key. Identity policies alone decide on them."""

_CALLERS: Final = 4096
Answer = tuple[DecidingStep, Statement | Grant | None]
Covering = tuple[tuple[Statement, ...], tuple[Statement, ...]]
"""Statements about one action: those that deny, those that allow."""
NO_STATEMENTS: Final = Statements(())


class _Met(NamedTuple):
    """The callers that were met since these identities are in force."""

    identities: Mapping[str, Identity]
    callers: dict[Principal, tuple[Caller, Statements]]


class Policies:
    """Implements base.Authorizer."""

    def __init__(
        self,
        identities: Mapping[str, Identity] | Callable[[], Mapping[str, Identity]],
        key_policies: KeyPolicies = default_statements,
    ) -> None:
        """`identities`: the policies and tags of the principals, by their names; or a function that returns those in
        force, the same object until others are."""
        self._identities = identities if callable(identities) else lambda: identities
        self._key_policies = key_policies
        self._met = _Met({}, {})

    def decide(self, question: Question) -> Decision:
        """See base.Authorizer. The decision names the statement that denied or allowed."""
        return self._decide(question, NO_STATEMENTS if question.key is None else self._key_policies(question.key))

    def decide_under(self, question: Question, policy: str) -> Decision:
        """See base.Authorizer."""
        return self._decide(question, compiled(policy))

    def _decide(self, question: Question, key_policy: Statements) -> Decision:
        caller, own = self._caller(question.principal)
        reading = Reading(question, caller)
        step, by = _answer(reading, key_policy.about(question.action), own.about(question.action))
        read = ALWAYS | reading.read if reading.read else ALWAYS
        allowed = step is DecidingStep.ALLOWED
        if isinstance(by, Grant):
            return Decision(allowed, read, step, grant=by.grant_id)
        return Decision(allowed, read, step, by and by.named)

    def _caller(self, principal: Principal) -> tuple[Caller, Statements]:
        met, identities = self._met, self._identities()
        if met.identities is not identities:
            met = self._met = _Met(identities, {})
        found = met.callers.get(principal)
        if found is None:
            identity = identities.get(principal.name, NO_POLICIES)
            if len(met.callers) >= _CALLERS:
                met.callers.clear()
            found = met.callers[principal] = caller_of(principal, identity.tags), identity.statements
        return found


def _answer(reading: Reading, of_key: Covering, own: Covering) -> Answer:
    """Answers by the statements of the key policy and of the identity policies that are about the action, and by
    grants."""
    question, key = reading.question, reading.question.key
    denied = _first(own[0], reading) or _first_meant(of_key[0], reading)
    if denied is not None:
        return DecidingStep.EXPLICIT_DENY, denied
    if key is None:
        return _without_key(reading, own[1])
    across = key.account != question.principal.account
    if across and question.action not in ACROSS_ACCOUNTS:
        return DecidingStep.NOT_ACROSS_ACCOUNTS, None
    if question.action == RETIRE:
        return _by_its_grant(reading, own[1], across)
    by_policy = _by_key_policy(reading, of_key[1], own[1], across)
    return by_policy if by_policy[0] is DecidingStep.ALLOWED else _by_grants(reading, own[1], by_policy)


def _without_key(reading: Reading, own: tuple[Statement, ...]) -> Answer:
    resource, account = reading.question.resource, reading.caller.principal.account
    if resource is not None and resource.startswith("arn:") and resource.split(":")[4] != account:
        return DecidingStep.NOT_ACROSS_ACCOUNTS, None
    return _by_identity(reading, own)


def _by_grants(reading: Reading, own: tuple[Statement, ...], otherwise: Answer) -> Answer:
    """Answers by grants. One to an account is left to the identity policies of its principals."""
    caller = reading.caller
    grant = allowing(reading, grantees_of(caller))
    if grant is None and _by_identity(reading, own)[0] is DecidingStep.ALLOWED:
        grant = allowing(reading, (caller.root,))
    return otherwise if grant is None else (DecidingStep.ALLOWED, grant)


def _by_its_grant(reading: Reading, own: tuple[Statement, ...], across: bool) -> Answer:
    """Answers whether the caller may retire the question's grant. That there is no such grant learns who may retire
    grants by policies of the key's account; others would learn that there is the key."""
    grant, caller = reading.question.grant, reading.caller
    if grant is not None and may_retire(grant, caller):
        return DecidingStep.ALLOWED, grant
    if not across if grant is None else leaves_retiring_to(grant, caller):
        return _by_identity(reading, own)
    return DecidingStep.NO_GRANT, None


def _by_key_policy(reading: Reading, of_key: tuple[Statement, ...], own: tuple[Statement, ...], across: bool) -> Answer:
    by_account = False
    for statement in of_key:
        assert statement.principals is not None, "a key policy names principals"
        meant = meaning(statement.principals, reading.caller)
        if meant is Meant.NOT or not matches_request(statement, reading):
            continue
        if meant is Meant.DIRECTLY and not across:
            return DecidingStep.ALLOWED, statement
        by_account = True
    return _by_identity(reading, own) if by_account else (DecidingStep.NO_KEY_POLICY, None)


def _by_identity(reading: Reading, own: tuple[Statement, ...]) -> Answer:
    """Answers by the identity policies. An account's root has none and needs none."""
    allowed = _first(own, reading)
    if allowed is not None or reading.caller.is_root:
        return DecidingStep.ALLOWED, allowed
    return DecidingStep.NO_IDENTITY_POLICY, None


def _first_meant(statements: tuple[Statement, ...], reading: Reading) -> Statement | None:
    """Returns the first statement of a key policy that means the caller, or the caller's account, and matches."""
    for statement in statements:
        assert statement.principals is not None, "a key policy names principals"
        if meaning(statement.principals, reading.caller) is not Meant.NOT and matches_request(statement, reading):
            return statement
    return None


def _first(statements: tuple[Statement, ...], reading: Reading) -> Statement | None:
    for statement in statements:
        if matches_request(statement, reading):
            return statement
    return None
