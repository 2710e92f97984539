"""Cases of policies from AWS's documentation, each with its page, and what a request gets under them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kms_grpc.authorization.authorizer import Policies
from kms_grpc.authorization.base import Decision, PolicyKind, Question
from kms_grpc.authorization.identity_policies import Identity
from kms_grpc.authorization.parsing import parse
from kms_grpc.authorization.policy import Statements
from kms_grpc.model.key import Key, KeyState
from kms_grpc.model.principal import Principal

ACCOUNT = "111122223333"
OTHER = "444455556666"
REGION = "eu-central-1"
KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{KEY_ID}"
KEY = Key(KEY_ID, KEY_ARN, ACCOUNT, REGION, KeyState.ENABLED, "", 0, None)
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/ExampleRole"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/ExampleRole/s1"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
FOREIGN_ROOT = f"arn:aws:iam::{OTHER}:root"
FOREIGN = f"arn:aws:iam::{OTHER}:role/ExampleExternalRole"

KMS = "https://docs.aws.amazon.com/kms/latest/developerguide/"
IAM = "https://docs.aws.amazon.com/IAM/latest/UserGuide/"

Document = Mapping[str, Any]


def allow(actions: Any = "kms:*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    """Returns a statement; without an Action or a Resource where those are None."""
    elements = {"Effect": "Allow", "Action": actions, "Resource": resource}
    return {name: value for name, value in elements.items() if value is not None} | more


def deny(actions: Any = "kms:*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return allow(actions, resource, **more) | {"Effect": "Deny"}


def when(operator: str, key: str, *values: Any) -> dict[str, Any]:
    """Returns a Condition element with one key."""
    return {"Condition": {operator: {key: list(values)}}}


def policy(*statements: Document, version: str | None = "2012-10-17") -> str:
    document: dict[str, Any] = {"Statement": list(statements)}
    return json.dumps(document | ({"Version": version} if version else {}))


DELEGATING = {**allow(), "Principal": {"AWS": ROOT}}
"""The statement of the default key policy."""


class Facts:
    """Facts that a test sets, by condition keys in lower case, with their suffixes."""

    def __init__(self, values: Mapping[str, str | Sequence[str]]) -> None:
        self._values = {
            name.lower(): (each,) if isinstance(each, str) else tuple(each) for name, each in values.items()
        }

    def find(self, name: str, suffix: str) -> tuple[str, ...] | None:
        return self._values.get(name + suffix)


class Case(NamedTuple):
    """A request under an identity policy and a key policy, and the answer."""

    page: str
    why: str
    allowed: bool
    identity: Sequence[Document] = ()
    key_policy: Sequence[Document] = (DELEGATING,)
    by: str = ALICE
    action: str = "kms:Decrypt"
    context: Mapping[str, str] = {}
    facts: Mapping[str, str | Sequence[str]] = {}
    tags: Mapping[str, str] = {}
    service: str | None = None
    key: Key | None = KEY
    version: str | None = "2012-10-17"

    def question(self) -> Question:
        account = self.by.split(":")[4]
        principal = Principal("caller", self.by, account, self.service)
        return Question(principal, self.action, self.key, self.context, Facts(self.facts))

    def decision(self) -> Decision:
        """Returns the answer of the authorizer."""
        return self.authorizer().decide(self.question())

    def authorizer(self) -> Policies:
        own = parse(policy(*self.identity, version=self.version), PolicyKind.IDENTITY, "p") if self.identity else ()
        of_key = parse(policy(*self.key_policy, version=self.version), PolicyKind.KEY, "default")
        identities = {"caller": Identity(Statements(own), self.tags)}
        return Policies(lambda: identities, lambda key: Statements(of_key))
