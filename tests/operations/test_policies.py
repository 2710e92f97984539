"""GetKeyPolicy and ListKeyPolicies: the default key policy, and the requests that are refused."""

from __future__ import annotations

import json

import pytest

from kms_grpc.model.key import KeyKind
from tests.operations.service import ALICE, EVE, Refusal, Worker

TEXT = """{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::111122223333:root"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}"""
"""The default key policy of AWS's documentation, for one account. Clients compare policies as text, so it stays."""


@pytest.mark.parametrize("fields", [{}, {"policy_name": "default"}])
def test_a_key_has_the_default_policy(shared: Worker, fields: dict[str, str]) -> None:
    answer = shared.call("GetKeyPolicy", key_id=shared.create().key_id, **fields)
    assert (answer.policy, answer.policy_name) == (TEXT, "default")


def test_the_policy_names_the_account_of_the_key(shared: Worker) -> None:
    policy = json.loads(shared.call("GetKeyPolicy", by=EVE, key_id=shared.create(by=EVE).key_id).policy)
    assert policy["Statement"][0]["Principal"] == {"AWS": f"arn:aws:iam::{EVE.account}:root"}
    assert EVE.account != ALICE.account


@pytest.mark.parametrize("name", ["Default", "AWS_RAM", "x" * 128])
def test_other_policies_are_not_found(shared: Worker, name: str) -> None:
    key = shared.create()
    told = Refusal("NotFoundException", "No such policy exists", key.arn, "Enabled")
    assert shared.refusal("GetKeyPolicy", key_id=key.key_id, policy_name=name) == told


def test_policies_of_aws_managed_keys_are_not_built(shared: Worker) -> None:
    """The default policy would be wrong: only the key's service may use it."""
    key = shared.create()
    shared.change(key.key_id, kind=KeyKind.AWS_MANAGED)
    assert shared.refusal("GetKeyPolicy", key_id=key.key_id).code == "UnsupportedOperationException"


@pytest.mark.parametrize("fields", [{}, {"limit": 1}])
def test_a_key_has_one_policy_in_one_page(shared: Worker, fields: dict[str, int]) -> None:
    answer = shared.call("ListKeyPolicies", key_id=shared.create().key_id, **fields)
    assert (list(answer.policy_names), answer.truncated, answer.HasField("next_marker")) == (["default"], False, False)


def test_every_marker_is_refused(shared: Worker) -> None:
    """There is no second page, so nobody was given a marker."""
    key = shared.create()
    assert shared.refusal("ListKeyPolicies", key_id=key.key_id, marker="AQ").code == "ValidationException"
