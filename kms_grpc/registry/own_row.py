"""Reads a shard's own row from its file, and unwraps the region key that is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from kms_grpc.crypto.errors import WrappedKeyDamaged
from kms_grpc.crypto.framing import frame
from kms_grpc.crypto.keyring import evict
from kms_grpc.registry.sql.library import sqlite3
from kms_grpc.registry.sql.rows import Place, RowMac
from kms_grpc.registry.sql.shard_row import SHARD, ShardRow, shard_of
from kms_grpc.registry.sql.sqlite import connect
from kms_grpc.root_key.base import RootKey

T = TypeVar("T")


class WillNotStart(Exception):
    """The server cannot start. The text says why, and what a person can do about it."""


def read_own_row(path: Path) -> ShardRow:
    """Returns a shard's own row without checking its MAC, which needs the region key. Raises WillNotStart."""
    return shard_of(_read_row(path))


def read_revision(path: Path) -> str | None:
    """Returns the migration that a shard is at; None if it has no tables yet. Raises WillNotStart."""

    def read() -> str | None:
        with closing(connect(path)) as connection:
            tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            if not tables[0]:
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return row[0] if row else None

    return in_words(path, read)


def unwrap_region_key(path: Path, row: ShardRow, root: RootKey) -> int:
    """Returns the keyring handle of the region key. It unwraps only under the root key that it was wrapped under, and
    with the row's own partition, region and account. Raises WillNotStart if it does not, or if the row's MAC fails."""
    if not isinstance(row.wrapped_region_key, bytes):
        raise _damaged(path)
    binding = region_key_binding(row.partition, row.region, row.account)
    try:
        region_key = root.load_region_key(binding, row.wrapped_region_key)
    except WrappedKeyDamaged as error:
        if row.root_fingerprint == root.fingerprint:
            raise _damaged(path) from error
        raise WillNotStart(
            f"{path} was made under the root key {row.root_fingerprint}, but the one here is {root.fingerprint}. Put "
            "the right root key back, or the data directory that belongs to this one."
        ) from error
    if RowMac(Place(row.partition, row.region), region_key).holds(SHARD, _read_row(path)):
        return region_key
    evict(region_key)
    raise _damaged(path)


def region_key_binding(partition: str, region: str, account: str) -> bytes:
    """Returns the associated data of the wrapping of a region key."""
    parts = (str(part).encode("utf-8", "surrogateescape") for part in (partition, region, account))
    return frame(b"region key", *parts)


def in_words(path: Path, act: Callable[[], T]) -> T:
    """Calls `act`. WillNotStart, with the reason in words, if the file at `path` or its disk does not allow it."""
    try:
        return act()
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        original = getattr(error, "orig", None) or error
        raise WillNotStart(
            f"{path} cannot be used: {original}. Look at the path, its permissions and the room on its disk. If the "
            "file is damaged, restore it from a backup."
        ) from error


def _read_row(path: Path) -> Sequence[object]:
    statement = str(SHARD.select)
    if read_revision(path) in ("0001", "0002", "0003"):
        statement = statement.replace("shard.hashed", "NULL")

    def read() -> Sequence[object] | None:
        with closing(connect(path)) as connection:
            row: Sequence[object] | None = connection.execute(statement).fetchone()
            return row

    row = in_words(path, read)
    if row is None:
        raise _damaged(path)
    return row


def _damaged(path: Path) -> WillNotStart:
    return WillNotStart(f"{path}: the shard's own row was changed on disk. Restore the file from a backup.")
