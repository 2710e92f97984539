"""The contract of an authorizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from kms_grpc.model.grant import Grant, GrantOperation
from kms_grpc.model.key import Key
from kms_grpc.model.principal import Principal

STABLE_ATTRIBUTES = frozenset({"principal", "operation", "key", "region"})
"""The attributes of a request that do not keep a decision out of a Permit. A decision that reads only these holds until
the key or the configuration changes."""

CONTEXT = "encryption_context"
"""The attribute of a request whose values a decision may be kept for, one by one."""


class Facts(Protocol):
    """Values of condition keys that only the call knows, such as aws:SourceIp."""

    def find(self, name: str, suffix: str) -> tuple[str, ...] | None:
        """Returns the values of a condition key, named in lower case; None if it is absent. `suffix` is the part of a
        key such as aws:ResourceTag/team that its writer chooses, in lower case."""


class NoFacts:
    """Facts of a question without a call: all keys are absent."""

    def find(self, name: str, suffix: str) -> tuple[str, ...] | None:
        """See Facts."""
        return None


NO_FACTS = NoFacts()


class GrantsOnKey(Protocol):
    """The grants on the key of a question."""

    def allowing(self, grantee: str, operation: GrantOperation, context: Mapping[str, str]) -> Iterable[Grant]:
        """Returns the grants of an operation to a grantee; those that ask nothing of the encryption context come first.
        Grants that ask for another context than this one may be left out."""


class NoGrants:
    """A key without grants."""

    def allowing(self, grantee: str, operation: GrantOperation, context: Mapping[str, str]) -> Iterable[Grant]:
        """See GrantsOnKey."""
        return ()


NO_GRANTS = NoGrants()


class Question(msgspec.Struct, frozen=True):
    """Asks whether `principal` may call `action` (`kms:Encrypt`) on `key` (None if the action has no key)."""

    principal: Principal
    action: str
    key: Key | None
    encryption_context: Mapping[str, str]
    facts: Facts = NO_FACTS
    resource: str | None = None
    """ARN of a resource without a key policy: an alias, a principal, or a key that does not exist. `key` is None
    then."""
    grants: GrantsOnKey = NO_GRANTS
    grant: Grant | None = None
    """The grant that the call makes or ends."""


class PolicyKind(StrEnum):
    """The owner of a policy: a key, or a principal."""

    KEY = "key policy"
    IDENTITY = "identity policy"


class Deciding(NamedTuple):
    """Names the statement that decided a question, for the audit and for explanations."""

    kind: PolicyKind
    policy: str
    """The policy's name, such as `full-access`."""
    sid: str
    place: int
    """The statement's place in the policy, from 0."""
    line: int = 1
    """The line of the policy's text on which the statement begins, from 1."""


class DecidingStep(StrEnum):
    """The step of the evaluation that gave the answer."""

    ALLOWED = "allowed"
    EXPLICIT_DENY = "explicitDeny"
    NO_KEY_POLICY = "noKeyPolicyAllows"
    """No statement of the key policy allows it, neither to the caller nor to the caller's account, and no grant."""
    NO_IDENTITY_POLICY = "noIdentityPolicyAllows"
    NO_GRANT = "notByThisGrant"
    """The grant that the call would end gives the right to end it to others."""
    NOT_ACROSS_ACCOUNTS = "notAcrossAccounts"
    """The action cannot be called on another account's key, whatever policies say."""


class Decision(msgspec.Struct, frozen=True):
    """The answer, and the attributes of the request that it depends on. A decision that read other attributes than
    STABLE_ATTRIBUTES and CONTEXT must be made again for each call."""

    allowed: bool
    read: frozenset[str]
    step: DecidingStep | None = None
    deciding: Deciding | None = None
    """The statement that denied or allowed. None where no statement matched, or none was needed."""
    grant: str | None = None
    """Id of the grant that allowed."""


class Authorizer(Protocol):
    """Decides whether a principal may call an action on a key."""

    def decide(self, question: Question) -> Decision: ...

    def decide_under(self, question: Question, policy: str) -> Decision:
        """Decides as if the question's key had this key policy. Raises MalformedPolicyDocumentException with the place
        of the error, and LimitExceededException over 32 KiB."""
