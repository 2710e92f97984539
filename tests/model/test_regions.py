"""Names of regions and their partitions; botocore's list is the oracle."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import botocore
import pytest

from kms_grpc.config import ConfigurationError, from_values
from kms_grpc.model.principal import Principal
from kms_grpc.model.region import REGION, partition_of

PARTITIONS: list[Any] = json.loads((Path(botocore.__file__).parent / "data" / "partitions.json").read_text())[
    "partitions"
]
KNOWN = [
    (partition["id"], region)
    for partition in PARTITIONS
    for region in partition["regions"]
    if re.match(partition["regionRegex"], region)  # the others are names such as aws-global
]


@pytest.mark.parametrize(("partition", "region"), KNOWN, ids=[region for _, region in KNOWN])
def test_every_region_of_aws_is_legal_and_in_its_partition(partition: str, region: str) -> None:
    assert REGION.fullmatch(region)
    assert partition_of(region) == partition


def test_the_list_has_all_partitions() -> None:
    assert {partition for partition, _ in KNOWN} == {
        "aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc",
    }  # fmt: skip


@pytest.mark.parametrize("region", ["eusc-de-east-1", "us-isob-east-1", "eu-central-1", "local-test-12"])
def test_regions_that_may_be_served(region: str) -> None:
    assert from_values({"regions": [region]}).default_region == region


@pytest.mark.parametrize(
    "region", ["", "x", "eu", "eu-central", "eu-central-", "EU-central-1", "eu_central_1", "../x-y-1", "eu-central-1/",
               "eu-central-1\n", "eu--1", "e-central-1", "eu-central-100", "a" * 99 + "-b-1"]
)  # fmt: skip
def test_malformed_names_are_refused(region: str) -> None:
    with pytest.raises(ConfigurationError, match="must have the form eu-central-1"):
        from_values({"regions": [region]})


def test_a_principals_arn_in_another_partition() -> None:
    alice = Principal("alice", "arn:aws:iam::111122223333:role/a:b", "111122223333", "s3.amazonaws.com")
    assert alice.within("aws") is alice
    moved = alice.within("aws-cn")
    assert moved == Principal("alice", "arn:aws-cn:iam::111122223333:role/a:b", "111122223333", "s3.amazonaws.com")
    assert moved.within("aws") == alice
    assert alice.within("aw").arn.startswith("arn:aw:iam:"), "a beginning of a partition's name is another partition"
