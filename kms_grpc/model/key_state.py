"""What a key's state and kind allow: one table for all operations, read by the executor alone.

A row names an operation, a column a key state; a cell is a verdict. The published table is
https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html; where it leaves the error of a key pending
deletion open (Disabled or KMSInvalidState), KMSInvalidStateException is answered everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from kms_grpc.errors import DisabledException, KMSError, KMSInvalidStateException, UnsupportedOperationException
from kms_grpc.model.key import Key, KeyKind, KeyState, Origin

S = KeyState


class Verdict(Enum):
    """One cell: go on, or the very error. Words in AWS's documentation are beside each."""

    OK = "go on"
    DISABLED = "is disabled."
    PENDING_DELETION = "is pending deletion."
    PENDING_REPLICA_DELETION = "is pending replica deletion."
    NOT_PENDING_DELETION = "is not pending deletion."
    PENDING_IMPORT = "is pending import."
    UNAVAILABLE = "is unavailable."
    CREATING = "is creating."
    UPDATING = "is updating."
    ORIGIN = "origin is {origin} which is not valid for this operation."


V = Verdict
_STATES = (
    S.ENABLED,
    S.DISABLED,
    S.PENDING_DELETION,
    S.PENDING_REPLICA_DELETION,
    S.PENDING_IMPORT,
    S.UNAVAILABLE,
    S.CREATING,
    S.UPDATING,
)
_PD = (V.PENDING_DELETION, V.PENDING_REPLICA_DELETION)

Rule = dict[KeyState, Verdict]


def _row(*cells: Verdict) -> Rule:
    return dict(zip(_STATES, cells, strict=True))


#                    Enabled  Disabled    PD, PRD  PendingImport     Unavailable    Creating    Updating
USE = _row(V.OK, V.DISABLED, *_PD, V.PENDING_IMPORT, V.UNAVAILABLE, V.CREATING, V.OK)
READ = _row(V.OK, V.OK, V.OK, V.OK, V.OK, V.OK, V.OK, V.OK)
SWITCH = _row(V.OK, V.OK, *_PD, V.PENDING_IMPORT, V.OK, V.CREATING, V.UPDATING)
CHANGE = _row(V.OK, V.OK, *_PD, V.OK, V.OK, V.OK, V.OK)
"""TagResource, UntagResource, UpdateKeyDescription, CreateAlias; UpdateAlias for the new target."""

RULES: dict[str, Rule] = {
    "DescribeKey": READ,
    "ListAliases": READ,
    "EnableKey": SWITCH,
    "DisableKey": SWITCH,
    "UpdateKeyDescription": CHANGE,
    "CreateAlias": CHANGE,
    "UpdateAlias": CHANGE,
    "DeleteAlias": READ,
    "Encrypt": USE,
    "Decrypt": USE,
    "ReEncrypt": USE,
    "GenerateDataKey": USE,
    "GenerateDataKeyWithoutPlaintext": USE,
}

_ERRORS: dict[Verdict, Callable[..., KMSError]] = {
    V.DISABLED: DisabledException,
    V.ORIGIN: UnsupportedOperationException,
}


def refusal(rule: Rule, key: Key) -> KMSError | None:
    """The error that `rule` answers for `key`, or None where it goes on. The text is AWS's: `<key ARN> is disabled.`"""
    verdict = rule[key.state]
    if verdict is V.OK:
        return None
    error = _ERRORS.get(verdict, KMSInvalidStateException)
    return error(f"{key.arn} {verdict.value.format(origin=key.origin)}", key=key.arn, state=key.state)


def is_customer_managed(key: Key) -> bool:
    """Whether its account may change the key: AWS managed keys are changed by their service alone."""
    return key.kind is KeyKind.CUSTOMER_MANAGED


__all__ = ["RULES", "Rule", "Verdict", "refusal", "is_customer_managed", "Origin"]
