"""Names of regions, and the partition of each: the first part of the ARNs in it.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html and botocore's partitions.json
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

REGION: Final = re.compile(r"[a-z]{2,8}(-[a-z]{1,16}){1,4}-[0-9]{1,2}")
"""The form of a region's name: `eu-central-1`, `us-isob-east-1`, `eusc-de-east-1`."""
STANDARD_PARTITION: Final = "aws"
PARTITIONS: Final[Mapping[str, str]] = {
    "cn-": "aws-cn",
    "eusc-": "aws-eusc",
    "eu-isoe-": "aws-iso-e",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
}
"""The partition of the regions whose name has this prefix. All others are in the standard partition."""


def partition_of(region: str) -> str:
    """Returns the partition that AWS has a region of this name in."""
    beginning = next((each for each in PARTITIONS if region.startswith(each)), None)
    return PARTITIONS[beginning] if beginning else STANDARD_PARTITION
