"""A new shard gets the partition of its region, and keeps the partition that it was made with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from kms_grpc.clock import SystemClock
from kms_grpc.crypto.keyring import open_keyring
from kms_grpc.registry.own_row import WillNotStart
from kms_grpc.registry.provisioning import Installation, open_shards, prepare
from kms_grpc.registry.sql.library import sqlite3
from kms_grpc.registry.words import create_words, words_path
from kms_grpc.root_key.file import RootKeyFile

REGIONS = ("eu-central-1", "cn-north-1", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1")
PARTITIONS = ["aws", "aws-cn", "aws-us-gov", "aws-iso-b", "aws-eusc"]


def partitions(folder: Path, regions: Sequence[str], override: str | None = None) -> list[str]:
    """Starts a service, and returns the partition of each shard."""
    open_keyring()
    made, root = Installation(folder, regions, override, "000000000000"), RootKeyFile(folder / "root.key")
    prepare(made, root, SystemClock())
    create_words(words_path(folder), len(regions))
    shards = open_shards(made, root, 100)
    try:
        found = [shards.get(region) for region in regions]
        return [shard.partition for shard in found if shard is not None]
    finally:
        shards.close()


def test_a_new_shard_is_in_the_partition_of_its_region(tmp_path: Path) -> None:
    assert partitions(tmp_path / "data", REGIONS) == PARTITIONS
    assert partitions(tmp_path / "data", REGIONS) == PARTITIONS, "after a restart too"


def test_the_setting_overrides_the_partition_of_the_region(tmp_path: Path) -> None:
    assert partitions(tmp_path / "data", REGIONS[:2], "aws-test") == ["aws-test", "aws-test"]


def test_a_shard_keeps_the_partition_that_it_was_made_with(tmp_path: Path) -> None:
    """Earlier versions made all shards in `aws` unless the setting said otherwise."""
    assert partitions(tmp_path / "data", REGIONS[:2], "aws") == ["aws", "aws"]
    assert partitions(tmp_path / "data", REGIONS[:3]) == ["aws", "aws", "aws-us-gov"]
    with pytest.raises(WillNotStart, match="belongs to partition aws-us-gov, but the configuration says aws"):
        partitions(tmp_path / "data", REGIONS[:3], "aws")


def test_a_partition_that_was_changed_on_disk_is_refused(tmp_path: Path) -> None:
    """Without the setting, the row's MAC and the wrapped region key still bind the partition."""
    folder = tmp_path / "data"
    partitions(folder, REGIONS[1:2])
    with sqlite3.connect(folder / "regions" / "cn-north-1.sqlite") as database:
        database.execute("UPDATE shard SET partition = 'aws'")
    with pytest.raises(WillNotStart):
        partitions(folder, REGIONS[1:2])
