"""Computes what a new key policy changes for whom, by the evaluator of the server itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import click

from kms_grpc.authorization.authorizer import Policies
from kms_grpc.authorization.base import DecidingStep, PolicyKind, Question
from kms_grpc.authorization.identity_policies import Identity, identities
from kms_grpc.authorization.managed_key_policy import name_of_service
from kms_grpc.authorization.parsing import parse
from kms_grpc.config import ConfigurationError, given, load
from kms_grpc.model.key import Key, KeyState
from kms_grpc.model.permissions import OF_KEYS
from kms_grpc.model.principal import Principal


class Access(IntEnum):
    """Levels of access under a policy, the least first."""

    DENIED = 0
    BY_OWN_POLICIES = 1
    """The key policy leaves it to the principal's identity policies, which are not known."""
    IN_SOME_CALLS = 2
    """It depends on the call: its encryption context, address, time or tags."""
    ALLOWED = 3

    @property
    def said(self) -> str:
        """The words for people."""
        return ("denied", "by own policies", "in some calls", "allowed")[self]


class AccessChange(NamedTuple):
    """Actions that change alike for one principal."""

    principal: str
    actions: tuple[str, ...]
    before: Access
    after: Access

    @property
    def takes_away(self) -> bool:
        return self.after < self.before


class Known(NamedTuple):
    """The principals that are looked at, and the identity policies of those whose policies are known."""

    principals: tuple[Principal, ...]
    identities: Mapping[str, Identity]


class ImaginedCall:
    """The facts of a call that nobody makes: its region, and the service that makes it."""

    def __init__(self, principal: Principal, region: str) -> None:
        self._known = {"aws:requestedregion": region}
        if principal.service is not None:
            self._known["kms:viaservice"] = name_of_service(principal.service, region)

    def find(self, name: str, suffix: str) -> tuple[str, ...] | None:
        """See authorization.base.Facts."""
        return (self._known[name],) if name in self._known else None


def configured(config_file: Path) -> Known:
    """Returns the principals of a configuration. Raises UsageError where it cannot be read."""
    try:
        # The regions may be given to `serve` alone, and no principal depends on them.
        regions = given(config_file, {}).get("regions") or ["eu-central-1"]
        callers = load(config_file, {"regions": regions}).principals
        own = identities(callers)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    return Known(tuple(Principal(p.name, p.arn, p.account, p.service) for p in callers), own)


def named(texts: Iterable[str]) -> Known:
    """Returns the principals that key policies name by their ARNs, without what is known of them elsewhere."""
    arns: set[str] = set()
    for text in texts:
        for statement in parse(text, PolicyKind.KEY, "default"):
            if statement.principals is not None:
                arns |= statement.principals.arns
                arns |= {arn for arn in statement.principals.accounts if arn.startswith("arn:")}
    return Known(tuple(Principal(arn, arn, arn.split(":")[4]) for arn in sorted(arns)), {})


def key_of(arn: str) -> Key:
    """Returns a key as the evaluator wants it, by its ARN alone."""
    _, _, _, region, account, name = arn.split(":", 5)
    return Key(name.rpartition("/")[2], arn, account, region, KeyState.ENABLED, "", 0, None)


def changes(key: Key, known: Known, before: str, after: str) -> list[AccessChange]:
    """Returns what differs under the two policies, by principal; actions that change alike stand together."""
    found = []
    for principal in known.principals:
        alike: dict[tuple[Access, Access], list[str]] = {}
        for action in OF_KEYS:
            both = tuple(_access(key, known, principal, action, text) for text in (before, after))
            if both[0] is not both[1]:
                alike.setdefault((both[0], both[1]), []).append(action)
        found += [AccessChange(principal.name, tuple(actions), *both) for both, actions in alike.items()]
    return found


def _access(key: Key, known: Known, principal: Principal, action: str, policy: str) -> Access:
    authorizer = Policies(lambda: known.identities)
    question = Question(principal, f"kms:{action}", key, {}, ImaginedCall(principal, key.region))
    decision = authorizer.decide_under(question, policy)
    if decision.read - {"principal", "operation", "key", "region"}:
        return Access.IN_SOME_CALLS
    if decision.step is DecidingStep.NO_IDENTITY_POLICY and principal.name not in known.identities:
        return Access.BY_OWN_POLICIES
    return Access.ALLOWED if decision.allowed else Access.DENIED
