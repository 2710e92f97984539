"""The start: shards that are missing are made, old ones migrated, and all are held against the configuration.

`prepare` is for the one process that holds the data directory's lock, before others are started; a crash at any point
of it leaves a state from which the next one goes on. `open_shards` is for those others: it never creates or migrates.

    DIR/root.key                  made only where there is no shard yet; the same with another source of root keys
    DIR/regions/<region>.sqlite   made as <region>.sqlite.new and renamed when whole
    DIR/run/epochs                made by create_epochs at each start
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from kms_grpc.clock import Clock
from kms_grpc.crypto.errors import RootKeyFileError, WrappedKeyDamaged
from kms_grpc.crypto.framing import frame
from kms_grpc.crypto.keyring import evict
from kms_grpc.faults import fault_point
from kms_grpc.registry import statements as sql
from kms_grpc.registry.base import ShardRow
from kms_grpc.registry.epochs import Epochs, epochs_path
from kms_grpc.registry.rows import SHARD, RowMac, shard_of, shard_values
from kms_grpc.registry.shards import CACHED_KEYS, Shard, Shards
from kms_grpc.registry.sql import SqlRegistry
from kms_grpc.registry.sqlite import connect
from kms_grpc.registry.tables import HEAD
from kms_grpc.root_key.base import RootKey, RootKeySource

T = TypeVar("T")


class WillNotStart(Exception):
    """Why the server does not start, and what a person can do about it."""


@dataclass(frozen=True, slots=True)
class Service:
    """What the configuration says of the whole service."""

    data_dir: Path
    regions: Sequence[str]
    partition: str
    account: str
    """The service's own account, 12 digits."""

    def shard_path(self, region: str) -> Path:
        return self.data_dir / "regions" / f"{region}.sqlite"


def prepare(service: Service, root_keys: RootKeySource, clock: Clock) -> None:
    """Make what is missing and check what is there. WillNotStart with a reason. Existing shards are migrated only."""
    folder = service.data_dir / "regions"
    _on_disk(folder, lambda: folder.mkdir(mode=0o700, parents=True, exist_ok=True))
    _provide_root_key(service, root_keys)
    root = _with_root_key(root_keys.open)
    try:
        for region in service.regions:
            if not service.shard_path(region).exists():
                _make_shard(service, region, root, clock)
            _migrate(service.shard_path(region))
            evict(_region_key(service, region, root))
    finally:
        root.close()


def open_shards(service: Service, root_keys: RootKeySource, cached_keys: int = CACHED_KEYS) -> Shards:
    """The prepared shards, for one worker; `cached_keys` bounds its caches over all regions. Needs an open keyring with
    that many slots, and some for the regions' keys and the root key."""
    epochs = Epochs(epochs_path(service.data_dir))
    if len(epochs) != len(service.regions):
        raise WillNotStart(f"{epochs_path(service.data_dir)} is of {len(epochs)} regions. Restart the server.")
    root = _with_root_key(root_keys.open)
    capacity = max(2, cached_keys // len(service.regions))
    try:
        return Shards([_open_shard(service, region, root, epochs, capacity) for region in service.regions])
    finally:
        root.close()


def _open_shard(service: Service, region: str, root: RootKey, epochs: Epochs, capacity: int) -> Shard:
    region_key = _region_key(service, region, root)
    registry = SqlRegistry(service.shard_path(region), service.partition, region, region_key)
    epoch = epochs[list(service.regions).index(region)]
    return Shard(service.partition, region, service.account, registry, region_key, epoch, capacity)


def claimed_row(path: Path) -> ShardRow:
    """A shard's own row as it stands, unproven: for saying which root key it wants. WillNotStart."""
    return _read(path)


def examine(path: Path, root: RootKey) -> tuple[ShardRow, Sequence[str]]:
    """A shard as it lies there, for `kms-grpc check`: its own row, and the names of damaged rows. WillNotStart."""
    if _revision(path) != HEAD:
        raise WillNotStart(f"{path} is not migrated. `kms-grpc serve` migrates it.")
    row = _read(path)
    region_key = _unwrapped(path, row, root)
    registry = SqlRegistry(path, row.partition, row.region, region_key)
    try:
        return row, registry.damaged_rows()
    finally:
        registry.close()
        evict(region_key)


# --- the root key ------------------------------------------------------------------------------------------------


def _provide_root_key(service: Service, root_keys: RootKeySource) -> None:
    if root_keys.exists():
        return
    shards = sorted((service.data_dir / "regions").glob("*.sqlite"))
    if shards:
        row = _read(shards[0])
        raise WillNotStart(
            f"{root_keys.name} is missing, and {shards[0]} was made under root key {row.root_fingerprint}. "
            "Put that root key back from its backup: without it no key of the service can be used."
        )
    fault_point("start.root_key.before")
    _with_root_key(root_keys.create)
    fault_point("start.root_key.after")


def _with_root_key(act: Callable[[], T]) -> T:
    try:
        return act()
    except RootKeyFileError as error:
        raise WillNotStart(str(error)) from error


# --- one shard ---------------------------------------------------------------------------------------------------


def _make_shard(service: Service, region: str, root: RootKey, clock: Clock) -> None:
    path = service.shard_path(region)
    made = path.with_name(path.name + ".new")
    fault_point("start.shard.before")
    _on_disk(path, lambda: _fill_shard(service, region, root, clock, made))
    made.rename(path)
    _sync_folder(path.parent)
    fault_point("start.shard.after")


def _fill_shard(service: Service, region: str, root: RootKey, clock: Clock, made: Path) -> None:
    for left in (made, Path(f"{made}-wal"), Path(f"{made}-shm"), Path(f"{made}-journal")):
        left.unlink(missing_ok=True)
    with closing(connect(made, "rwc")) as connection:
        made.chmod(0o600)
        connection.execute("PRAGMA journal_mode=WAL")
    _migrate(made)
    associated = _associated(service.partition, region, service.account)
    wrapped = root.generate_region_key(associated)
    row = ShardRow(service.partition, region, service.account, root.fingerprint, wrapped, clock.wall_ns())
    region_key = root.load_region_key(associated, wrapped)
    try:
        values = RowMac(service.partition, region, region_key).seal(SHARD, shard_values(row))
    finally:
        evict(region_key)
    _store(made, values)


def _store(made: Path, values: dict[str, object]) -> None:
    engine = create_engine("sqlite://", creator=lambda: connect(made), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(sql.ADD_SHARD, values)
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


def _migrate(path: Path) -> None:
    if _revision(path) == HEAD:
        return
    from kms_grpc.registry.migrate import NewerShard, migrate  # alembic takes 0.2 s to import, and is seldom needed

    try:
        _on_disk(path, lambda: migrate(path))
    except NewerShard as error:
        raise WillNotStart(f"{path} was made by a newer version of kms-grpc ({error}). Start that version.") from error


def _revision(path: Path) -> str | None:
    def read() -> str | None:
        with closing(connect(path)) as connection:
            tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            if not tables[0]:
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return row[0] if row else None

    return _on_disk(path, read)


def _region_key(service: Service, region: str, root: RootKey) -> int:
    """The handle of the region's key, once the shard's own row agrees with the configuration."""
    path = service.shard_path(region)
    if not path.exists():
        raise WillNotStart(f"{path} is missing. Start the server by `kms-grpc serve`, which makes it.")
    if _revision(path) != HEAD:
        raise WillNotStart(f"{path} is not migrated. Restart the server by `kms-grpc serve`, which migrates it.")
    row = _read(path)
    region_key = _unwrapped(path, row, root)
    try:
        _check_place(service, region, path, row)
    except WillNotStart:
        evict(region_key)
        raise
    return region_key


def _unwrapped(path: Path, row: ShardRow, root: RootKey) -> int:
    """The region's key, which opens only under the root key and with the row's own partition, region and account."""
    if not isinstance(row.wrapped_region_key, bytes):
        raise _damaged(path)
    try:
        region_key = root.load_region_key(_associated(row.partition, row.region, row.account), row.wrapped_region_key)
    except WrappedKeyDamaged as error:
        if row.root_fingerprint == root.fingerprint:
            raise _damaged(path) from error
        raise WillNotStart(
            f"{path} was made under the root key {row.root_fingerprint}, but the one here is {root.fingerprint}. Put "
            "the right root key back, or the data directory that belongs to this one."
        ) from error
    if _mac_holds(path, row, region_key):
        return region_key
    evict(region_key)
    raise _damaged(path)


def _mac_holds(path: Path, row: ShardRow, region_key: int) -> bool:
    return RowMac(row.partition, row.region, region_key).holds(SHARD, _read_row(path))


def _check_place(service: Service, region: str, path: Path, row: ShardRow) -> None:
    if row.region != region:
        raise WillNotStart(
            f"{path} is the shard of region {row.region}. Files were swapped: put them back under their names."
        )
    if row.partition != service.partition:
        raise WillNotStart(
            f"{path} belongs to partition {row.partition}, but the configuration says {service.partition}. Correct "
            "the configuration."
        )
    if row.account != service.account:
        raise WillNotStart(
            f"{path} belongs to the service account {row.account}, but the configuration says {service.account}. "
            "Correct the configuration."
        )


def _damaged(path: Path) -> WillNotStart:
    return WillNotStart(f"{path}: the shard's own row was changed on disk. Restore the file from a backup.")


def _read(path: Path) -> ShardRow:
    return shard_of(_read_row(path))


def _read_row(path: Path) -> Sequence[object]:
    statement = str(sql.SHARD_ROW)

    def read() -> Sequence[object] | None:
        with closing(connect(path)) as connection:
            row: Sequence[object] | None = connection.execute(statement).fetchone()
            return row

    row = _on_disk(path, read)
    if row is None:
        raise _damaged(path)
    return row


def _associated(partition: str, region: str, account: str) -> bytes:
    """What a region's key is bound to."""
    parts = (str(part).encode("utf-8", "surrogateescape") for part in (partition, region, account))
    return frame(b"region key", *parts)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _on_disk(path: Path, act: Callable[[], T]) -> T:
    """`act`, with what the disk refuses told in words."""
    try:
        return act()
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        original = getattr(error, "orig", None) or error
        raise WillNotStart(
            f"{path} cannot be used: {original}. Look at the path, its permissions and the room on its disk; a damaged "
            "file has to come back from a backup."
        ) from error
