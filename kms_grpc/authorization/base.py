"""The contract of an authorizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kms_grpc.model.key import Key
from kms_grpc.model.principal import Principal

STABLE_ATTRIBUTES = frozenset({"principal", "operation", "key"})
"""The attributes of a request that do not keep a decision out of a Permit. A decision that reads only these holds until
the key or the configuration changes."""


@dataclass(frozen=True, slots=True)
class Question:
    """Asks whether `principal` may call `action` (`kms:Encrypt`) on `key` (None if the action has no key)."""

    principal: Principal
    action: str
    key: Key | None
    encryption_context: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and the attributes of the request that it depends on. A decision that read other attributes than
    STABLE_ATTRIBUTES must be made again for each call."""

    allowed: bool
    read: frozenset[str]


class Authorizer(Protocol):
    """Decides whether a principal may call an action on a key."""

    def decide(self, question: Question) -> Decision: ...
