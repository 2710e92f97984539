"""Policies as plain data, compiled once per version of their document: no callables, no text left to parse.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

from kms_grpc.authorization.base import Deciding
from kms_grpc.authorization.condition_keys import KeyReference
from kms_grpc.authorization.patterns import Pattern, Variable, matches


class Quantifier(StrEnum):
    """The set operators of a condition on a key with several values."""

    NONE = ""
    ALL = "ForAllValues"
    ANY = "ForAnyValue"


class Condition(NamedTuple):
    """One condition key under one operator. `values` have the form that the operator's kind gives them."""

    operator: str
    """The operator without its prefix and suffix, `StringEquals`."""
    key: KeyReference
    values: tuple[Any, ...]
    quantifier: Quantifier
    if_exists: bool
    variables: tuple[Variable, ...] = ()
    """The variables in the values."""


class Principals(NamedTuple):
    """The Principal element of a statement in a key policy. ARNs are compared as they are written."""

    everybody: bool
    accounts: frozenset[str]
    """Accounts by their root's ARN or by their twelve digits. They may delegate to identity policies."""
    arns: frozenset[str]
    """Users, roles, sessions of roles and federated users."""
    services: frozenset[str]
    federated: frozenset[str]
    excluded: bool = False
    """The element is NotPrincipal: it means everybody else."""


class Statement(NamedTuple):
    """One statement of a policy."""

    named: Deciding
    allows: bool
    principals: Principals | None
    """None in identity policies."""
    actions: tuple[Pattern, ...]
    """In lower case. A statement without actions or resources has no effect."""
    other_actions: bool
    """The element is NotAction."""
    resources: tuple[Pattern, ...]
    other_resources: bool
    """The element is NotResource."""
    conditions: tuple[Condition, ...]
    variables: tuple[Variable, ...]
    """Variables without a default: where one has no value, the statement does not match."""

    def covers(self, action: str) -> bool:
        """Returns whether the statement is about an action, given in lower case."""
        if not self.actions:
            return False
        return any(matches(pattern, action) for pattern in self.actions) != self.other_actions


CACHED_ACTIONS: Final = 512


class Statements:
    """Statements of one or several policies, sorted by the action that they are about when it is first asked for."""

    __slots__ = ("_by_action", "every")

    def __init__(self, every: tuple[Statement, ...]) -> None:
        self.every = every
        self._by_action: dict[str, tuple[tuple[Statement, ...], tuple[Statement, ...]]] = {}

    def about(self, action: str) -> tuple[tuple[Statement, ...], tuple[Statement, ...]]:
        """Returns the statements that deny and those that allow an action (`kms:Encrypt`), in their order."""
        found = self._by_action.get(action)
        return self._sorted(action) if found is None else found

    def _sorted(self, action: str) -> tuple[tuple[Statement, ...], tuple[Statement, ...]]:
        covering = [statement for statement in self.every if statement.covers(action.lower())]
        denying = tuple(statement for statement in covering if not statement.allows)
        found = denying, tuple(statement for statement in covering if statement.allows)
        if len(self._by_action) >= CACHED_ACTIONS:
            self._by_action.clear()
        self._by_action[action] = found
        return found
