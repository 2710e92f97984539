"""Decisions in sentences, for people who ask why a call was denied or allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kms_grpc.authorization.base import Deciding, DecidingStep, Decision

_DENIED: Final[Mapping[DecidingStep | None, str]] = {
    DecidingStep.NO_KEY_POLICY: (
        "No statement of the key policy allows it, to the principal or to its account, and no grant."
    ),
    DecidingStep.NO_GRANT: "The grant lets others retire it.",
    DecidingStep.NO_IDENTITY_POLICY: "No identity policy of the principal allows it.",
    DecidingStep.NOT_ACROSS_ACCOUNTS: "The key is another account's, where no policy can allow this action.",
}
_BY_DELEGATION: Final = (
    "The key policy leaves it to the identity policies of the principal's account, and none of the principal's allows"
    " it. No grant does."
)


def explained(decision: Decision, has_key: bool, names_policy: bool = True) -> str:
    """Returns a decision as a sentence. `names_policy` off: the deciding policy is not for the reader's eyes."""
    deciding = decision.deciding
    if decision.grant is not None:
        return f"Grant {decision.grant} allows it."
    if decision.step is DecidingStep.NO_IDENTITY_POLICY and has_key:
        return _BY_DELEGATION
    if deciding is None:
        return "The account's root needs no identity policy." if decision.allowed else _DENIED[decision.step]
    said = "allows it." if decision.allowed else "denies it. No allow counts against a deny."
    return f"{_named(deciding) if names_policy else f'A statement of an {deciding.kind}'} {said}"


def _named(deciding: Deciding) -> str:
    sid = f' "{deciding.sid}"' if deciding.sid else ""
    return f"Statement {deciding.place}{sid} (line {deciding.line}) of the {deciding.kind} {deciding.policy}"
