"""AWS managed keys: which calls make one, who uses it, and the operations that are refused on it.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#aws-managed-cmk. AWS owned keys are in
test_owned_keys.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kms_grpc.clock import DAY_NS
from kms_grpc.config import MANAGED_SERVICES
from kms_grpc.model.key import KeyKind
from kms_grpc.v1 import keys_pb2
from tests.aws_facts import AWS_MANAGED
from tests.operations.external_keys import provide_pair, row
from tests.operations.scenes import NAMED_KEYS, Scene
from tests.operations.service import ALICE, AWAY, BOB, EVE, Caller, Host, Refusal, Worker, together
from tests.registry.damaging import damaged_rows

S3 = Caller("s3", ALICE.account, "token-of-s3-000004")
SQS = Caller("sqs", ALICE.account, "token-of-sqs-00005")
S3_OF_EVE = Caller("s3-of-eve", EVE.account, "token-of-s3-000006")
SERVICES = {"s3": "s3.amazonaws.com", "sqs": "sqs.amazonaws.com", "s3-of-eve": "s3.amazonaws.com"}
MINE = "alias/aws/s3"


def principals() -> list[dict[str, Any]]:
    return [
        {
            "name": c.name,
            "arn": c.arn,
            "account": c.account,
            "token": c.token,
            "service": SERVICES.get(c.name),
            "policies": ["full-access"],
        }
        for c in (ALICE, BOB, EVE, S3, SQS, S3_OF_EVE)
    ]


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    """A host with three services among the callers."""
    return make_host(principals=principals())


def managed(worker: Worker, by: Caller = ALICE, **fields: Any) -> Any:
    return worker.call("DescribeKey", by=by, key_id=MINE, **fields).key_metadata


def test_describing_makes_it(worker: Worker) -> None:
    key = managed(worker)
    assert key.key_manager == keys_pb2.KEY_MANAGER_TYPE_AWS
    assert (key.enabled, key.origin, key.aws_account_id) == (True, keys_pb2.ORIGIN_TYPE_AWS_KMS, ALICE.account)
    assert managed(worker, BOB) == key, "all callers of the account get the same one"
    assert managed(worker, EVE).arn != key.arn, "another account has its own"
    assert managed(worker, region=AWAY).key_id != key.key_id, "and so has another region"
    assert [entry.key_id for entry in worker.call("ListKeys").keys] == [key.key_id]
    (alias,) = worker.call("ListAliases").aliases
    assert (alias.alias_name, alias.target_key_id) == (MINE, key.key_id)
    made = [record for record in worker.outbox() if record["serviceEventDetails"]["keyId"] == key.key_id]
    assert [(record["eventName"], record["eventType"]) for record in made] == [("CreateKey", "AwsServiceEvent")]


@pytest.mark.parametrize("service", MANAGED_SERVICES)
def test_the_usual_services_have_one(shared: Worker, service: str) -> None:
    key_id = shared.call("DescribeKey", key_id=f"alias/aws/{service}").key_metadata.key_id
    assert row(shared, key_id).service == f"{service}.amazonaws.com"


BEGINNINGS: list[tuple[Caller, str, bool, str]] = [
    (ALICE, "DescribeKey", True, "anyone of the account by describing it"),
    (S3, "DescribeKey", True, "its service among them"),
    (S3, "Encrypt", True, "its service by using it"),
    (S3, "GenerateDataKey", True, "in whatever way"),
    (ALICE, "Encrypt", False, "the account does not use it"),
    (SQS, "Encrypt", False, "nor does another service"),
    (S3_OF_EVE, "Encrypt", False, "a service of another account makes that account's"),
]


@pytest.mark.parametrize(("by", "name", "begins", "reason"), BEGINNINGS)
def test_callers_that_make_one(worker: Worker, by: Caller, name: str, begins: bool, reason: str) -> None:
    asked: dict[str, Any] = {"key_id": MINE}
    asked |= {"Encrypt": {"plaintext": b"p"}, "GenerateDataKey": {"number_of_bytes": 32}}.get(name, {})
    if begins or by.account != ALICE.account:
        worker.call(name, by=by, **asked)
    else:
        assert worker.refusal(name, by=by, **asked).code == "NotFoundException"
    assert bool(worker.call("ListKeys").keys) is begins, reason


@pytest.mark.parametrize("name", ["alias/aws/nothing", "alias/aws/S3", "alias/aws/s3/x", "alias/aws/"])
def test_other_names_make_none(worker: Worker, name: str) -> None:
    assert worker.refusal("DescribeKey", key_id=name).code == "NotFoundException"
    assert not worker.call("ListKeys").keys


def test_another_account_makes_none_in_this_account(worker: Worker) -> None:
    arn = f"arn:aws:kms:eu-central-1:{ALICE.account}:{MINE}"
    assert worker.refusal("DescribeKey", by=EVE, key_id=arn).code == "AccessDeniedException"
    assert not worker.call("ListKeys").keys


def test_only_its_service_uses_it(worker: Worker) -> None:
    key = managed(worker)
    blob = worker.encrypt(MINE, by=S3)
    assert worker.call("Decrypt", by=S3, ciphertext_blob=blob).plaintext == b"plaintext"
    mine = worker.create()
    blob_of_mine = worker.encrypt(mine.key_id)
    for by in (ALICE, SQS, EVE, S3_OF_EVE):
        for name, fields in (
            ("Encrypt", {"key_id": key.arn, "plaintext": b"p"}),
            ("GenerateDataKey", {"key_id": key.arn, "number_of_bytes": 16}),
            ("Decrypt", {"ciphertext_blob": blob}),
            ("ReEncrypt", {"ciphertext_blob": blob, "destination_key_id": mine.arn}),
            ("ReEncrypt", {"ciphertext_blob": blob_of_mine, "destination_key_id": key.arn}),
        ):
            assert worker.refusal(name, by=by, **fields).code == "AccessDeniedException", (by.name, name)
    worker.encrypt(mine.key_id, by=S3)  # a principal of the account uses the account's own keys


CHANGES = [(name, field) for name, field in NAMED_KEYS if name in AWS_MANAGED["NOBODY"].split()]


def denied(by: Caller, operation: str, arn: str) -> str:
    """Returns AWS's text: the key's policy, which AWS sets, allows no change."""
    return (
        f"User: {by.arn} is not authorized to perform: kms:{operation} on resource: {arn} because no resource-based"
        f" policy allows the kms:{operation} action"
    )


@pytest.mark.parametrize("by", [ALICE, S3])
def test_changes_are_refused(worker: Worker, by: Caller) -> None:
    key = managed(worker)
    before = row(worker, key.key_id)
    provide_pair(worker.shard())
    for name, field in CHANGES:
        refusal = Scene(worker, name).refusal(by=by, **{field: key.key_id})
        assert refusal == Refusal("AccessDeniedException", denied(by, name, key.arn), key.arn), name
    assert row(worker, key.key_id) == before


def test_its_policy_is_read_and_not_replaced(worker: Worker) -> None:
    key = managed(worker)
    text = worker.call("GetKeyPolicy", key_id=key.key_id).policy
    assert "s3.eu-central-1.amazonaws.com" in text
    assert worker.call("GetKeyPolicy", by=S3, key_id=key.key_id).policy == text
    assert list(worker.call("ListKeyPolicies", key_id=key.key_id).policy_names) == ["default"]
    for by in (ALICE, S3):
        refusal = worker.refusal("PutKeyPolicy", by=by, key_id=key.key_id, policy=text)
        assert refusal == Refusal("AccessDeniedException", denied(by, "PutKeyPolicy", key.arn), key.arn)
    assert row(worker, key.key_id).policy_digest is None
    refusal = worker.refusal("GetParametersForImport", key_id=key.key_id, wrapping_algorithm=2, wrapping_key_spec=1)
    assert refusal.code == "UnsupportedOperationException", "kms:Get* allows it, the key's origin does not"


def test_its_aliases_are_reserved(worker: Worker) -> None:
    key, mine = managed(worker), worker.create(alias="alias/mine")
    for name in (MINE, "alias/aws/mine"):
        for operation, fields in (
            ("CreateAlias", {"target_key_id": mine.key_id}),
            ("UpdateAlias", {"target_key_id": mine.key_id}),
            ("DeleteAlias", {}),
        ):
            refused = worker.refusal(operation, alias_name=name, **fields)
            assert refused == Refusal("NotAuthorizedException", ""), "without a text, like AWS's"
    refusal = worker.refusal("UpdateAlias", alias_name="alias/mine", target_key_id=key.key_id)
    assert refusal == Refusal("AccessDeniedException", denied(ALICE, "UpdateAlias", key.arn), key.arn)


def test_it_rotates_automatically(worker: Worker) -> None:
    key = managed(worker)
    status = worker.call("GetKeyRotationStatus", key_id=key.key_id)
    assert (status.key_rotation_enabled, status.rotation_period_in_days) == (True, 365)
    assert status.next_rotation_date.ToNanoseconds() == worker.service.clock.wall_ns() + 365 * DAY_NS
    assert not worker.call("ListKeyRotations", key_id=key.key_id).rotations
    assert not worker.call("ListResourceTags", key_id=key.key_id).tags


def test_it_counts_in_no_quota(make_host: Callable[..., Host]) -> None:
    worker = make_host(principals=principals(), quotas={"keys_per_account": 1}).worker()
    for service in ("s3", "sqs", "ebs"):
        worker.call("DescribeKey", key_id=f"alias/aws/{service}")
    worker.create()
    assert worker.refusal("CreateKey").code == "LimitExceededException"
    worker.call("DescribeKey", key_id="alias/aws/rds")
    assert damaged_rows(worker.shard().registry) == [], "the counts are right"


def test_concurrent_first_calls_make_one(host: Host) -> None:
    workers = host.worker(), host.worker()
    found = together(*(lambda w=w: managed(w).key_id for w in workers * 8))
    assert len(set(map(str, found))) == 1
    assert len(workers[0].call("ListKeys").keys) == 1


def test_services_are_configured(make_host: Callable[..., Host]) -> None:
    worker = make_host(principals=principals(), managed_services=["mail"]).worker()
    assert worker.refusal("DescribeKey", key_id=MINE).code == "NotFoundException"
    key_id = worker.call("DescribeKey", key_id="alias/aws/mail").key_metadata.key_id
    assert row(worker, key_id).kind is KeyKind.AWS_MANAGED
