"""Makes, migrates, checks and opens the shards of an installation.

`prepare` is for the one process that holds the lock of the data directory, before other processes are started. If it is
killed at any point, the next call goes on from there. `open_shards` is for those other processes: it never makes or
migrates a shard.

    DIR/root.key                  made only where there is no shard yet; other sources of root keys likewise
    DIR/regions/<region>.sqlite   made as <region>.sqlite.new and renamed when complete
    DIR/run/words                 made by create_words at each start
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from kms_grpc.clock import Clock
from kms_grpc.crypto.errors import RootKeyFileError
from kms_grpc.crypto.keyring import evict
from kms_grpc.faults import fault_point
from kms_grpc.folder_sync import sync_folder
from kms_grpc.model.region import partition_of
from kms_grpc.registry.comparison import compare, compare_counters
from kms_grpc.registry.freshness import Guard
from kms_grpc.registry.known import refuse_if_known
from kms_grpc.registry.own_row import (
    WillNotStart,
    in_words,
    read_own_row,
    read_revision,
    region_key_binding,
    unwrap_region_key,
)
from kms_grpc.registry.shards import CACHED_KEYS, Shard, Shards
from kms_grpc.registry.sql.library import MODULE
from kms_grpc.registry.sql.registry import SqlRegistry
from kms_grpc.registry.sql.rows import Place, RowMac
from kms_grpc.registry.sql.shard_row import ADD_SHARD, SHARD, ShardRow, shard_values
from kms_grpc.registry.sql.sqlite import connect
from kms_grpc.registry.sql.tables import HEAD
from kms_grpc.registry.words import RegionWords, Words, words_path
from kms_grpc.root_key.base import RootKey, RootKeySource

T = TypeVar("T")

AGAIN = "Put the newest copy back and start the server anew by `kms-grpc serve`."


@dataclass(frozen=True, slots=True)
class Installation:
    """The data directory, and what the configuration says about its shards."""

    data_dir: Path
    regions: Sequence[str]
    partition: str | None
    """The partition of all regions. None: a new shard gets AWS's own partition of its region; others keep theirs."""
    account: str
    """The service's own account, 12 digits."""
    marks_dir: Path | None = None
    """Folder of the marks; None: DIR/marks."""

    def shard_path(self, region: str) -> Path:
        return self.data_dir / "regions" / f"{region}.sqlite"

    def mark_path(self, region: str) -> Path:
        return (self.marks_dir or self.data_dir / "marks") / f"{region}.mark"

    def partition_of_new(self, region: str) -> str:
        """Returns the partition of a shard that is made now."""
        return self.partition or partition_of(region)


def prepare(installation: Installation, root_keys: RootKeySource, clock: Clock, accept_older: bool = False) -> None:
    """Makes a missing root key and missing shards, migrates shards, and checks them against the configuration, their
    row hashes and their marks. Raises WillNotStart if something is wrong; shards that exist are then only migrated."""
    folder = installation.data_dir / "regions"
    in_words(folder, lambda: folder.mkdir(mode=0o700, parents=True, exist_ok=True))
    for region in installation.regions:
        if not installation.shard_path(region).exists():
            refuse_if_known(installation.data_dir, installation.shard_path(region), installation.mark_path(region))
    _provide_root_key(installation, root_keys)
    root = _with_root_key(root_keys.open)
    try:
        for region in installation.regions:
            if not installation.shard_path(region).exists():
                _make_shard(installation, region, root, clock)
            _migrate(installation.shard_path(region))
            _admit(installation, region, root, clock, accept_older)
    finally:
        root.close()


def _admit(installation: Installation, region: str, root: RootKey, clock: Clock, accept_older: bool) -> None:
    """Checks that the shard belongs to the configuration, and that it is what was committed to it last."""
    path = installation.shard_path(region)
    row, region_key = _region_key(installation, region, root)
    registry = SqlRegistry(path, row.partition, region, region_key, installation.mark_path(region))
    try:
        Guard(path, registry, row, clock).admit(accept_older)
    finally:
        registry.close()
        evict(region_key)


def open_shards(installation: Installation, root_keys: RootKeySource, cached_keys: int = CACHED_KEYS) -> Shards:
    """Opens the prepared shards for one process; `cached_keys` bounds its caches over all regions. Needs an open
    keyring with `cached_keys` slots, and slots for the root key and the region keys. Raises WillNotStart."""
    words = _words(installation)
    root = _with_root_key(root_keys.open)
    capacity = max(2, cached_keys // len(installation.regions))
    of_regions = [words.region(index, region) for index, region in enumerate(installation.regions)]
    try:
        shards = Shards([_open_shard(installation, root, each, capacity) for each in of_regions])
        _share_latest_time(of_regions)
        return shards
    finally:
        root.close()


def _share_latest_time(of_regions: Sequence[RegionWords]) -> None:
    """Tells all regions the latest time that any of them has recorded: they record it in turn."""
    latest_ns = max(each.latest_time.value for each in of_regions)
    for each in of_regions:
        each.latest_time.raise_to(latest_ns)


def _words(installation: Installation) -> Words:
    path = words_path(installation.data_dir)
    try:
        words = Words(path)
    except ValueError as error:
        raise WillNotStart(f"{error}. Restart the server.") from None
    if words.regions != len(installation.regions):
        raise WillNotStart(
            f"{path} was made for {words.regions} regions, not {len(installation.regions)}. Restart the server."
        )
    return words


def _open_shard(installation: Installation, root: RootKey, words: RegionWords, capacity: int) -> Shard:
    region = words.region
    row, region_key = _region_key(installation, region, root)
    path, mark = installation.shard_path(region), installation.mark_path(region)
    registry = SqlRegistry(path, row.partition, region, region_key, mark)
    different = in_words(path, lambda: compare_counters(registry))
    if different:
        registry.close()
        evict(region_key)
        raise WillNotStart(f"{path} is not what was committed to it last: {'; '.join(different)}. {AGAIN}")
    words.latest_time.raise_to(registry.latest_time.read_ns())
    if words.announced.value == 0:  # the first process of this start; nobody has cached anything yet
        words.announced.raise_to(registry.changes.last())
    return Shard(row.partition, region, installation.account, registry, region_key, words, capacity)


def examine(path: Path, root: RootKey, mark: Path) -> tuple[ShardRow, Sequence[str], Sequence[str]]:
    """Returns a shard's own row, the names of all damaged rows, and how the shard differs from what was committed to it
    last, for `kms-grpc check`. A server may be writing to it. Raises WillNotStart."""
    if read_revision(path) != HEAD:
        raise WillNotStart(f"{path} is not migrated. `kms-grpc serve` migrates it.")
    row = read_own_row(path)
    region_key = unwrap_region_key(path, row, root)
    registry = SqlRegistry(path, row.partition, row.region, region_key, mark)
    try:
        found, different = in_words(path, lambda: compare(registry))
        return row, [*found.damaged, *registry.wrong_counts()], different
    finally:
        registry.close()
        evict(region_key)


# --- the root key ------------------------------------------------------------------------------------------------


def _provide_root_key(installation: Installation, root_keys: RootKeySource) -> None:
    if root_keys.exists():
        return
    shards = sorted((installation.data_dir / "regions").glob("*.sqlite"))
    if shards:
        row = read_own_row(shards[0])
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


def _make_shard(installation: Installation, region: str, root: RootKey, clock: Clock) -> None:
    path = installation.shard_path(region)
    made = path.with_name(path.name + ".new")
    fault_point("start.shard.before")
    in_words(path, lambda: _fill_shard(installation, region, root, clock, made))
    fault_point("start.shard.marked")
    made.rename(path)
    sync_folder(path.parent)
    fault_point("start.shard.after")


def _fill_shard(installation: Installation, region: str, root: RootKey, clock: Clock, made: Path) -> None:
    for unfinished in (made, Path(f"{made}-wal"), Path(f"{made}-shm"), Path(f"{made}-journal")):
        unfinished.unlink(missing_ok=True)
    with closing(connect(made, "rwc")) as connection:
        made.chmod(0o600)
        connection.execute("PRAGMA journal_mode=WAL")
    _migrate(made)
    partition, account = installation.partition_of_new(region), installation.account
    binding = region_key_binding(partition, region, account)
    wrapped = root.generate_region_key(binding)
    row = ShardRow(partition, region, account, root.fingerprint, wrapped, clock.wall_ns(), hashed=1)
    region_key = root.load_region_key(binding, wrapped)
    registry = SqlRegistry(made, partition, region, region_key, installation.mark_path(region))
    try:
        _store(made, RowMac(Place(partition, region), region_key).seal(SHARD, shard_values(row)))
        registry.rehash(0)
        registry.mark.create()
        registry.erase_removed()
    finally:
        registry.close()
        evict(region_key)


def _store(made: Path, values: dict[str, object]) -> None:
    engine = create_engine("sqlite://", module=MODULE, creator=lambda: connect(made), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(ADD_SHARD, values)
    engine.dispose()


def _migrate(path: Path) -> None:
    if read_revision(path) == HEAD:
        return
    from kms_grpc.registry.migrate import NewerShard, migrate  # alembic takes 0.2 s to import, and is seldom needed

    try:
        in_words(path, lambda: migrate(path))
    except NewerShard as error:
        raise WillNotStart(f"{path} was made by a newer version of kms-grpc ({error}). Start that version.") from error


def _region_key(installation: Installation, region: str, root: RootKey) -> tuple[ShardRow, int]:
    """Returns the shard's own row and the keyring handle of the region key, once the row agrees with the
    configuration."""
    path = installation.shard_path(region)
    if not path.exists():
        raise WillNotStart(f"{path} is missing. Start the server by `kms-grpc serve`, which makes it.")
    if read_revision(path) != HEAD:
        raise WillNotStart(f"{path} is not migrated. Restart the server by `kms-grpc serve`, which migrates it.")
    row = read_own_row(path)
    region_key = unwrap_region_key(path, row, root)
    try:
        _check_place(installation, region, path, row)
    except WillNotStart:
        evict(region_key)
        raise
    return row, region_key


def _check_place(installation: Installation, region: str, path: Path, row: ShardRow) -> None:
    if row.region != region:
        raise WillNotStart(
            f"{path} is the shard of region {row.region}. Files were swapped: put them back under their names."
        )
    if installation.partition not in (None, row.partition):
        raise WillNotStart(
            f"{path} belongs to partition {row.partition}, but the configuration says {installation.partition}. "
            "Leave the setting out: a region keeps the partition that it was made with."
        )
    if row.account != installation.account:
        raise WillNotStart(
            f"{path} belongs to the service account {row.account}, but the configuration says {installation.account}. "
            "Correct the configuration."
        )
