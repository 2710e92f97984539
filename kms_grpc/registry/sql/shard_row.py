"""The shard's own row."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert

from kms_grpc.registry.sql.rows import Row, RowKind, Values
from kms_grpc.registry.sql.tables import shard

SHARD = RowKind(shard, lambda place, values: f"own row of region {place.region}")
ADD_SHARD = insert(shard)


@dataclass(frozen=True, slots=True)
class ShardRow:
    """The content of the row: the shard's place, and its region key wrapped under the root key."""

    partition: str
    region: str
    account: str
    """The service's own account, 12 digits."""
    root_fingerprint: str
    wrapped_region_key: bytes
    created_ns: int
    hashed: int | None = None
    """1 once the shard has row hashes; None before."""


def shard_values(row: ShardRow) -> Values:
    """Returns the columns of a shard's own row without the MAC."""
    return {
        "id": 1,
        "partition": row.partition,
        "region": row.region,
        "account": row.account,
        "root_fingerprint": row.root_fingerprint,
        "wrapped_region_key": row.wrapped_region_key,
        "created_ns": row.created_ns,
        "hashed": row.hashed,
    }


def shard_of(row: Row) -> ShardRow:
    """Returns the content of a row whose MAC the caller has checked or will check."""
    values = SHARD.values(row)
    del values["id"]
    return ShardRow(**values)
