"""Regions of several partitions in one service: ARNs of keys, and of the callers, are in the called region's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kms_grpc import app
from kms_grpc.authorization.base import STABLE_ATTRIBUTES, Decision, Question
from kms_grpc.registry.words import create_words, words_path
from tests.operations.service import ALICE, EVE, HOME, Host, SteppedClock, Worker, settings

CHINA = "cn-north-1"
PARTITIONS = {HOME: "aws", CHINA: "aws-cn"}


class Notes:
    """An authorizer that allows everything, and notes the ARNs of those who ask."""

    def __init__(self) -> None:
        self.arns: list[str] = []

    def decide(self, question: Question) -> Decision:
        self.arns.append(question.principal.arn)
        return Decision(question.key is None or question.key.account == question.principal.account, STABLE_ATTRIBUTES)


NOTES = Notes()


@pytest.fixture(scope="module")
def both(folder: Path, prepared: Path) -> Iterator[Worker]:
    data = Path(tempfile.mkdtemp(prefix="partitions-", dir=folder))
    regions = list(PARTITIONS)
    app.prepare(settings(data, regions=regions), SteppedClock())
    for name in ("run", "audit"):
        (data / name).mkdir(mode=0o700, exist_ok=True)
    create_words(words_path(data), len(regions))
    host = Host(data, regions=regions)
    yield host.worker(NOTES)
    host.close()
    shutil.rmtree(data)


@pytest.mark.parametrize(("region", "partition"), PARTITIONS.items())
def test_keys_and_aliases_are_in_the_partition_of_their_region(both: Worker, region: str, partition: str) -> None:
    made = both.create(region=region, alias="alias/mine")
    assert made.arn == f"arn:{partition}:kms:{region}:{ALICE.account}:key/{made.key_id}"
    (alias,) = both.call("ListAliases", key_id=made.key_id, region=region).aliases
    assert alias.alias_arn == f"arn:{partition}:kms:{region}:{ALICE.account}:alias/mine"
    other = made.arn.replace(f"arn:{partition}:", "arn:aws-iso:")
    assert both.refusal("DescribeKey", key_id=other, region=region).code == "NotFoundException"


@pytest.mark.parametrize(("region", "partition"), PARTITIONS.items())
def test_a_caller_is_judged_by_its_arn_in_the_called_regions_partition(
    both: Worker, region: str, partition: str
) -> None:
    """The caller is configured once, as arn:aws:…; a key policy in China can only name arn:aws-cn:…"""
    here = f"arn:{partition}:iam::{ALICE.account}:role/alice"
    NOTES.arns.clear()
    made = both.create(region=region)
    for _ in range(3):  # the later ones by a Permit
        both.call("Encrypt", key_id=made.key_id, plaintext=b"p", region=region)
    assert set(NOTES.arns) == {here}
    assert len(NOTES.arns) <= 4, "a Permit holds in either partition"
    foreign = both.create(region=region, by=EVE)
    refused = both.refusal("DescribeKey", key_id=foreign.arn, region=region)
    assert refused.text.startswith(f"User: {here} is not authorized to perform: kms:DescribeKey")


def test_audit_records_have_the_callers_arn_of_that_partition(both: Worker) -> None:
    made = both.create(region=CHINA)
    both.call("Encrypt", key_id=made.key_id, plaintext=b"p", region=CHINA)
    record = [each for each in both.audit() if each["eventName"] == "Encrypt" and each["awsRegion"] == CHINA][-1]
    assert record["userIdentity"]["arn"] == f"arn:aws-cn:iam::{ALICE.account}:role/alice"
