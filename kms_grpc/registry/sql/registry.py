"""The registry of one region over a store that speaks SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

from kms_grpc.model.key import Key, Material
from kms_grpc.registry.change import Name
from kms_grpc.registry.sql.access_keys import ACCESS_KEY, SqlAccessKeys, SqlWritableAccessKeys
from kms_grpc.registry.sql.aliases import ALIAS, SqlAliases, SqlWritableAliases
from kms_grpc.registry.sql.answers import ANSWER, SqlWritableAnswers
from kms_grpc.registry.sql.changes import SqlChanges
from kms_grpc.registry.sql.damage import DamageReports
from kms_grpc.registry.sql.key_counts import wrong_counts
from kms_grpc.registry.sql.keys import KEY, SqlKeys, SqlWritableKeys
from kms_grpc.registry.sql.latest_time import LATEST_TIME, SqlLatestTime, SqlWritableLatestTime
from kms_grpc.registry.sql.materials import MATERIAL, SqlMaterials, SqlWritableMaterials
from kms_grpc.registry.sql.outbox import SqlOutbox, SqlWritableOutbox
from kms_grpc.registry.sql.pairs import PAIR, SqlPairs, SqlWritablePairs
from kms_grpc.registry.sql.reader import Reader
from kms_grpc.registry.sql.rows import Place, RowMac
from kms_grpc.registry.sql.shard_row import SHARD
from kms_grpc.registry.sql.sqlite import SqliteStore
from kms_grpc.registry.sql.tags import TAG, SqlTags, SqlWritableTags
from kms_grpc.registry.sql.writer import Writer

_KINDS = (SHARD, KEY, MATERIAL, ALIAS, ANSWER, TAG, PAIR, LATEST_TIME, ACCESS_KEY)


class SqlTransaction:
    """Implements base.Transaction."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.keys = SqlWritableKeys(writer)
        self.materials = SqlWritableMaterials(writer)
        self.aliases = SqlWritableAliases(writer)
        self.tags = SqlWritableTags(writer)
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

    def __init__(self, path: Path, partition: str, region: str, region_key: int) -> None:
        place = Place(partition, region)
        self._store = SqliteStore(path, region)
        self._reader = reader = Reader(self._store.reading, RowMac(place, region_key), DamageReports(place))
        self.keys = SqlKeys(reader)
        self.materials = SqlMaterials(reader)
        self.aliases = SqlAliases(reader)
        self.tags = SqlTags(reader)
        self.pairs = SqlPairs(reader)
        self.outbox = SqlOutbox(reader)
        self.access_keys = SqlAccessKeys(reader)
        self.latest_time = SqlLatestTime(reader)
        self.changes = SqlChanges(reader)

    @contextmanager
    def writing(self, spends_reserve: bool = False) -> Iterator[SqlTransaction]:
        with self._store.writing(spends_reserve) as connection:
            yield SqlTransaction(Writer(connection, self._reader))

    def keep_reserve(self) -> None:
        self._store.keep_reserve()

    def version(self) -> object:
        return self._store.version()

    def erase_removed(self) -> bool:
        return self._store.empty_log()

    def damaged_rows(self) -> Sequence[str]:
        found = [name for kind in _KINDS for name in self._reader.damaged(kind)]
        return [*found, *wrong_counts(self._reader)]

    def close(self) -> None:
        self._store.close()
