"""The registry of one region over a store that speaks SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from kms_grpc.faults import fault_point
from kms_grpc.model.key import Key, Material
from kms_grpc.registry.change import Name
from kms_grpc.registry.comparison import compare
from kms_grpc.registry.forward import Forward
from kms_grpc.registry.mark import Mark
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.sql.access_keys import ACCESS_KEY, SqlAccessKeys, SqlWritableAccessKeys
from kms_grpc.registry.sql.aliases import ALIAS, SqlAliases, SqlWritableAliases
from kms_grpc.registry.sql.answers import ANSWER, SqlWritableAnswers
from kms_grpc.registry.sql.changes import SqlChanges
from kms_grpc.registry.sql.damage import DamageReports
from kms_grpc.registry.sql.grants import GRANT, SqlGrants, SqlWritableGrants
from kms_grpc.registry.sql.key_counts import wrong_counts
from kms_grpc.registry.sql.key_policies import KEY_POLICY, SqlKeyPolicies
from kms_grpc.registry.sql.keys import KEY, SqlKeys, SqlWritableKeys
from kms_grpc.registry.sql.latest_time import LATEST_TIME, SqlLatestTime, SqlWritableLatestTime
from kms_grpc.registry.sql.materials import MATERIAL, SqlMaterials, SqlWritableMaterials
from kms_grpc.registry.sql.outbox import OUTBOX, SqlOutbox, SqlWritableOutbox
from kms_grpc.registry.sql.pairs import PAIR, SqlPairs, SqlWritablePairs
from kms_grpc.registry.sql.reader import Reader
from kms_grpc.registry.sql.rehash import Rehash
from kms_grpc.registry.sql.row_hashes import ALL
from kms_grpc.registry.sql.rows import Place, RowMac
from kms_grpc.registry.sql.scan import Findings, Scan
from kms_grpc.registry.sql.shard_row import SHARD, ShardRow
from kms_grpc.registry.sql.sqlite import SqliteStore
from kms_grpc.registry.sql.tags import TAG, SqlTags, SqlWritableTags
from kms_grpc.registry.sql.writer import Writer
from kms_grpc.registry.verified import Verified

KINDS = (SHARD, KEY, KEY_POLICY, MATERIAL, ALIAS, ANSWER, TAG, PAIR, LATEST_TIME, ACCESS_KEY, OUTBOX, GRANT)
"""The tables of protected rows."""


class SqlTransaction:
    """Implements base.Transaction."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.keys = SqlWritableKeys(writer)
        self.materials = SqlWritableMaterials(writer)
        self.aliases = SqlWritableAliases(writer)
        self.tags = SqlWritableTags(writer)
        self.grants = SqlWritableGrants(writer)
        self.pairs = SqlWritablePairs(writer)
        self.answers = SqlWritableAnswers(writer)
        self.outbox = SqlWritableOutbox(writer)
        self.access_keys = SqlWritableAccessKeys(writer)
        self.latest_time = SqlWritableLatestTime(writer)

    @property
    def touched(self) -> AbstractSet[Name]:
        return self._writer.touched

    @property
    def entries(self) -> int:
        return self._writer.entries

    @property
    def created(self) -> Sequence[tuple[Key, Material | None]]:
        return self._writer.created


class SqlRegistry:
    """Implements base.Registry. `region_key` is the keyring handle of the key under which the rows' MACs are made."""

    def __init__(self, path: Path, partition: str, region: str, region_key: int, mark: Path | None = None) -> None:
        place = Place(partition, region)
        macs = RowMac(place, region_key)
        self._store = SqliteStore(path, region)
        self._reader = reader = Reader(self._store.reading, macs, DamageReports(place))
        self.mark = Mark(mark or path.with_suffix(".mark"), macs)
        self._forward = Forward(self.mark, region)
        self._verified = Verified()
        self.keys = SqlKeys(reader)
        self.policies = SqlKeyPolicies(reader)
        self.materials = SqlMaterials(reader)
        self.aliases = SqlAliases(reader)
        self.tags = SqlTags(reader)
        self.grants = SqlGrants(reader)
        self.pairs = SqlPairs(reader)
        self.outbox = SqlOutbox(reader)
        self.access_keys = SqlAccessKeys(reader)
        self.latest_time = SqlLatestTime(reader)
        self.changes = SqlChanges(reader)

    @contextmanager
    def writing(self, spends_reserve: bool = False) -> Iterator[SqlTransaction]:
        self._forward.catch_up()
        with self._store.writing(spends_reserve) as connection:
            writer = Writer(connection, self._reader)
            yield SqlTransaction(writer)
            counters = writer.hashes.store(writer.execute, self._reader.damage.place.region, self._forward.known)
        fault_point("mark.before")
        self._forward.advance(counters)
        fault_point("mark.after")

    def _scan(self, connection: Connection) -> Scan:
        return Scan(connection, self._reader.macs, self._reader.damage, KINDS, self._verified)

    def findings(self, buckets: range = ALL) -> Findings:
        """Scans all rows, or those of some buckets, in one state of the shard."""
        with self._store.snapshot() as connection:
            scan = self._scan(connection)
            return scan.whole() if buckets == ALL else scan.some(buckets)

    def counters(self) -> Findings:
        """Reads the row hashes without the rows."""
        with self._store.snapshot() as connection:
            return self._scan(connection).counters()

    def is_replaced(self) -> bool:
        return self._store.is_replaced()

    def differences(self, bucket: int, count: int = 1) -> Sequence[str]:
        return compare(self, range(bucket, bucket + count))[1]

    def checkpoint(self) -> bool:
        return self._store.checkpoint()

    def seconds_to_checkpoint(self) -> float:
        return self._store.seconds_to_checkpoint()

    @property
    def mark_folder(self) -> Path:
        return self.mark.path.parent

    def sync_mark(self) -> None:
        self.mark.sync_changes()

    def rehash(self, counter: int, record: OutboxRow | None = None, own: ShardRow | None = None) -> None:
        """Makes the row hashes anew over the rows that are there, all with this counter. `record` joins the outbox in
        the same transaction; `own` replaces the shard's own row, and outbox rows without a MAC get one."""
        with self._store.writing() as connection:
            Rehash(Writer(connection, self._reader), KINDS).store(counter, record, own)
            fault_point("start.hash.before")
        fault_point("start.hash.after")

    def keep_reserve(self) -> None:
        self._store.keep_reserve()

    def version(self) -> object:
        return self._store.version()

    def erase_removed(self) -> bool:
        return self._store.empty_log()

    def wrong_counts(self) -> Sequence[str]:
        """Returns the names of counts that differ from the number of rows."""
        return wrong_counts(self._reader)

    def close(self) -> None:
        self._store.close()
