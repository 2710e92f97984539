"""Unwraps every key of a data directory with the second implementation of the formats, for tests that search for
keys."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from kms_grpc.crypto.framing import frame
from kms_grpc.registry.sql.library import sqlite3
from tests.crypto.second_reader import MATERIAL, REGION_KEY, Key, derive, unwrap

ROW_MAC = "kms-grpc v1 row mac"


def key_material(data_dir: Path) -> dict[str, bytes]:
    """Returns root key, region keys, materials, message roots, and keys derived for wrapping and row MACs, by name."""
    root = (data_dir / "root.key").read_bytes()
    keys = {"root key": root, "region wrapping key": derive(root, REGION_KEY)}
    for path in sorted((data_dir / "regions").glob("*.sqlite")):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as shard:
            keys |= _of_region(shard, root, path.stem)
    return keys


def _of_region(shard: sqlite3.Connection, root: bytes, region: str) -> dict[str, bytes]:
    partition, account, wrapped = shard.execute("SELECT partition, account, wrapped_region_key FROM shard").fetchone()
    place = (partition, region, account)
    region_key = unwrap(root, REGION_KEY, wrapped, frame(b"region key", *(part.encode() for part in place)))
    keys = {
        f"region key of {region}": region_key,
        f"material wrapping key of {region}": derive(region_key, MATERIAL),
        f"row key of {region}": derive(region_key, ROW_MAC),
    }
    rows = "SELECT key_id, arn, keys.account, wrapped FROM materials JOIN keys USING (key_id)"
    for key_id, arn, owner, wrapped in shard.execute(rows):
        place = (partition, region, owner, key_id)
        material = unwrap(region_key, MATERIAL, wrapped, frame(b"key material", *(part.encode() for part in place)))
        keys[f"material of {arn}"] = material
        keys[f"message root of {arn}"] = Key(key_id, arn, material).message_root
    return keys
