"""The key policy of AWS managed keys: its text, and whom it allows which operation."""

from __future__ import annotations

import dataclasses
import json

import pytest

from kms_grpc.authorization.authorizer import Policies
from kms_grpc.authorization.base import Question
from kms_grpc.authorization.identity_policies import identity
from kms_grpc.authorization.key_policies import StoredKeyPolicies, text_of
from kms_grpc.authorization.managed_key_policy import name_of_service
from kms_grpc.model.key import Key, KeyKind
from kms_grpc.model.principal import Principal
from tests.authorization.cases import ACCOUNT, KEY, REGION
from tests.aws_facts import AWS_MANAGED

S3 = "s3.amazonaws.com"
MANAGED = dataclasses.replace(KEY, kind=KeyKind.AWS_MANAGED, service=S3)
OTHER = "999999999999"
CALLERS = {
    "the account": Principal("alice", f"arn:aws:iam::{ACCOUNT}:user/alice", ACCOUNT),
    "its root": Principal("alice", f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT),
    "the service": Principal("alice", f"arn:aws:iam::{ACCOUNT}:role/s3", ACCOUNT, S3),
    "another service": Principal("alice", f"arn:aws:iam::{ACCOUNT}:role/sqs", ACCOUNT, "sqs.amazonaws.com"),
    "the service for another account": Principal("alice", f"arn:aws:iam::{OTHER}:role/s3", OTHER, S3),
    "another account": Principal("alice", f"arn:aws:iam::{OTHER}:user/eve", OTHER),
}
OF_ACCOUNT = {"the account", "its root", "the service", "another service"}
OTHER_SPECS = {"GenerateMac", "VerifyMac", "Sign", "Verify", "DeriveSharedSecret"}
"""Operations that symmetric keys do not have, as all AWS managed keys are."""


class Via:
    """The facts of a call: kms:ViaService of its caller."""

    def __init__(self, caller: Principal) -> None:
        self.service = caller.service

    def find(self, name: str, suffix: str) -> tuple[str, ...] | None:
        if name == "kms:viaservice" and self.service is not None:
            return (name_of_service(self.service, REGION),)
        return None


def stored(key: Key) -> str:
    raise AssertionError("no policy is stored for an AWS managed key")


def allowed(operation: str) -> set[str]:
    """Returns who may call an operation, of callers whose own policies allow everything."""
    known = {"alice": identity("alice", ["full-access"], {})}
    authorizer = Policies(lambda: known, StoredKeyPolicies(stored))
    action = f"kms:{operation}From" if operation == "ReEncrypt" else f"kms:{operation}"
    asked = {name: Question(caller, action, MANAGED, {}, Via(caller)) for name, caller in CALLERS.items()}
    return {name for name, question in asked.items() if authorizer.decide(question).allowed}


@pytest.mark.parametrize("operation", AWS_MANAGED["ACCOUNT"].split())
def test_the_account_sees_the_key(operation: str) -> None:
    assert allowed(operation) == OF_ACCOUNT


@pytest.mark.parametrize("operation", sorted({*AWS_MANAGED["SERVICE"].split()} - OTHER_SPECS - {"RetireGrant"}))
def test_its_service_alone_uses_the_key(operation: str) -> None:
    assert allowed(operation) == {"the service"}


@pytest.mark.parametrize("operation", AWS_MANAGED["NOBODY"].split())
def test_nobody_changes_the_key(operation: str) -> None:
    assert allowed(operation) == set()


def test_the_text_is_that_of_aws() -> None:
    """Laid out as AWS does it. Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-services.html"""
    policy = json.loads(text_of(MANAGED, stored))
    use, see = policy["Statement"]
    assert use["Condition"] == {
        "StringEquals": {"kms:CallerAccount": ACCOUNT, "kms:ViaService": f"s3.{REGION}.amazonaws.com"}
    }
    assert (use["Principal"], see["Principal"]) == ({"AWS": "*"}, {"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
    assert policy["Id"] == "auto-s3-2"
