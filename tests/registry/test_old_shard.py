"""A shard of revision 0001 is migrated and used."""

from __future__ import annotations

import json
import shutil
import signal
import zipfile
from pathlib import Path

import pytest

from kms_grpc.crypto.envelope import open_blob
from tests.registry.damaging import damaged_rows
from tests.registry.made import (
    ACCOUNT,
    NO_CONTEXT,
    OTHER_ACCOUNT,
    in_another_process,
    opened,
    rotate,
    start,
)

OLD_SHARD = Path(__file__).parents[1] / "vectors" / "shard_0001.zip"


def test_a_shard_of_revision_0001_can_be_used(tmp_path: Path) -> None:
    """The shard was made by a release that had only that revision. Its MACs hold, its blobs decrypt, and its rows can
    be changed."""
    folder = tmp_path / "data"
    with zipfile.ZipFile(OLD_SHARD) as archive:
        archive.extractall(folder)
    (folder / "root.key").chmod(0o600)
    written = json.loads((folder / "written.json").read_text())
    start(folder)
    shards = opened(folder)
    shard = shards.default
    assert damaged_rows(shard.registry) == []
    for row in written:
        key = shard.find_key(row["key_id"])
        assert key is not None
        assert (key.arn, key.description) == (row["arn"], row["description"])
        assert (key.rotation_period_days, key.on_demand_rotations, key.material_missing) == (None, 0, False)
        assert (key.current_material_id or b"").hex() == row["material_id"]
        blob = bytes.fromhex(row["blob"])
        key = rotate(shard, key)
        loaded = shard.material(key, blob[:55])
        assert loaded is not None
        assert open_blob(loaded.handle, loaded.associated_prefix + NO_CONTEXT, blob) == row["plaintext"].encode()
        assert [one.number for one in shard.registry.materials.list_after(key.key_id, -1, 9)] == [0, 1]
        alias = shard.find_alias(ACCOUNT, row["alias"])
        assert alias is not None
    with shard.writing() as transaction:
        transaction.keys.remove(key)
    assert (shard.registry.keys.count(ACCOUNT), shard.registry.keys.count(OTHER_ACCOUNT)) == (len(written) - 1, 0)
    assert damaged_rows(shard.registry) == []
    shards.close()


@pytest.mark.parametrize("fault", ["migration.before", "migration.between", "migration.after"])
def test_a_migration_of_an_old_shard_that_was_killed_is_run_again(tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "data"
    with zipfile.ZipFile(OLD_SHARD) as archive:
        archive.extractall(folder)
    (folder / "root.key").chmod(0o600)
    dead = in_another_process("start(Path(argv[0]))", folder, fault=fault)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    start(folder)
    shards = opened(folder)
    assert len(shards.default.registry.keys.list_after(ACCOUNT, 0, 9)) == 3
    assert damaged_rows(shards.default.registry) == []
    shards.close()
    shutil.rmtree(folder)
