"""The contract of an authorizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kms_grpc.model.key import Key
from kms_grpc.model.principal import Principal

STABLE_ATTRIBUTES = frozenset({"principal", "operation", "key"})
"""A decision that read nothing else holds until the key or the configuration changes, so a Permit may keep it."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: may `principal` do `action` (`kms:Encrypt`) with `key` (None: the action has no key)?"""

    principal: Principal
    action: str
    key: Key | None
    encryption_context: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and which attributes of the request it read: what lies outside STABLE_ATTRIBUTES must be asked
    every time."""

    allowed: bool
    read: frozenset[str]


class Authorizer(Protocol):
    """Decides whether a principal may do something to a key."""

    def decide(self, question: Question) -> Decision: ...
