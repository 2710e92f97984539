"""Rows that carry a MAC, read over one connection: those changed on disk are refused by name or left out of lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import Connection, Executable

from kms_grpc.model.access_key import AccessKey
from kms_grpc.model.key import Alias, ImportPair, Key, Material, Tag
from kms_grpc.registry import statements as sql
from kms_grpc.registry.base import RememberedAnswer
from kms_grpc.registry.damage import Place, is_row_of_alias, is_row_of_key
from kms_grpc.registry.rows import (
    ACCESS_KEY,
    ALIAS,
    ANSWER,
    KEY,
    LATEST,
    MATERIAL,
    PAIR,
    TAG,
    Row,
    RowKind,
    RowMac,
    Values,
    access_key_of,
    alias_of,
    answer_of,
    digest,
    key_of,
    material_of,
    pair_of,
    tag_of,
)

_SCAN_AT_ONCE = 1_000


class ProtectedRows:
    """Looked up by name, or a page at a time. KeyUnavailableException where a row was changed on disk."""

    def __init__(self, macs: RowMac, place: Place) -> None:
        self.macs = macs
        self.place = place

    def find(
        self,
        connection: Connection,
        kind: RowKind,
        statements: tuple[Executable, Executable],
        name: Values,
        second: bytes,
    ) -> tuple[Row | None, list[Row]]:
        """The row of that name if it is as it was written, and else the damaged rows that may be it."""
        damaged: list[Row] = []
        for statement, parameters in zip(statements, (name, {"of_digest": second}), strict=True):
            row = connection.execute(statement, parameters).first()
            if row is not None and self.macs.holds(kind, row):
                return row, []
            if row is not None:
                damaged.append(row)
        return None, damaged

    def key(self, connection: Connection, key_id: str) -> Key | None:
        by = (sql.KEY_BY_NAME, sql.KEY_BY_DIGEST)
        row, damaged = self.find(connection, KEY, by, {"key_id": key_id}, digest(key_id))
        for other in damaged:
            if is_row_of_key(other, key_id):
                raise self.place.key(key_id, other)
        return key_of(row) if row is not None else None

    def alias(self, connection: Connection, account: str, name: str) -> Alias | None:
        by = (sql.ALIAS_BY_NAME, sql.ALIAS_BY_DIGEST)
        row, damaged = self.find(connection, ALIAS, by, {"account": account, "name": name}, digest(account, name))
        if any(is_row_of_alias(other, account, name) for other in damaged):
            raise self.place.alias(account, name)
        return alias_of(row) if row is not None else None

    def material(self, connection: Connection, key_id: str, material_id: bytes) -> Material | None:
        by = (sql.MATERIAL_BY_NAME, sql.MATERIAL_BY_DIGEST)
        name = {"key_id": key_id, "material_id": material_id}
        row, damaged = self.find(connection, MATERIAL, by, name, digest(key_id, material_id))
        if damaged:
            raise self.place.material(key_id, MATERIAL.values(damaged[0])["account"])
        return material_of(row) if row is not None else None

    def answer(self, connection: Connection, account: str, operation: str, request_id: str) -> RememberedAnswer | None:
        by = (sql.ANSWER_BY_NAME, sql.ANSWER_BY_DIGEST)
        name = {"account": account, "operation": operation, "request_id": request_id}
        row, damaged = self.find(connection, ANSWER, by, name, digest(account, operation, request_id))
        if damaged:
            raise self.place.answer(operation, request_id)
        return answer_of(row) if row is not None else None

    def pair(self, connection: Connection, pair_id: bytes) -> ImportPair | None:
        row = connection.execute(sql.PAIR_BY_ID, {"of_pair_id": pair_id}).first()
        if row is not None and not self.macs.holds(PAIR, row):
            raise self.place.pair()
        return pair_of(row) if row is not None else None

    def access_key(self, connection: Connection, access_key_id: str) -> AccessKey | None:
        row = connection.execute(sql.ACCESS_KEY_BY_ID, {"of_access_key_id": access_key_id}).first()
        if row is not None and not self.macs.holds(ACCESS_KEY, row):
            raise self.place.access_key(access_key_id)
        return access_key_of(row) if row is not None else None

    def materials(self, connection: Connection, key_id: str, after: int, limit: int) -> list[Material]:
        statement = sql.FIRST_MATERIALS if after < 0 else sql.MATERIALS_AFTER

        def fetch(count: int) -> Sequence[Row]:
            parameters = {"of_key_id": key_id, "after": after, "limit_rows": count}
            return connection.execute(statement, parameters).fetchall()

        return [material_of(row) for row in self.page(MATERIAL, limit, fetch)]

    def tags(self, connection: Connection, key_id: str, after: str, limit: int) -> list[Tag]:
        def fetch(count: int) -> Sequence[Row]:
            parameters = {"of_key_id": key_id, "after": after, "limit_rows": count}
            return connection.execute(sql.TAGS_AFTER, parameters).fetchall()

        return [tag_of(row) for row in self.page(TAG, limit, fetch)]

    def latest_ns(self, connection: Connection) -> int:
        row = connection.execute(sql.LATEST_TIME).first()
        if row is not None and not self.macs.holds(LATEST, row):
            raise self.place.shard()
        return LATEST.values(row)["latest_ns"] if row is not None else 0

    def page(self, kind: RowKind, limit: int, fetch: Callable[[int], Sequence[Row]]) -> list[Row]:
        """The first `limit` rows that are as they were written, of those that `fetch(count)` begins with. Where a
        damaged one stands says nothing: none is passed over for it."""
        damaged = 0
        while True:
            rows = fetch(limit + damaged)
            found = list(self.undamaged(kind, rows))
            if len(found) >= limit or len(rows) < limit + damaged:
                return found[:limit]
            damaged = 2 * (len(rows) - len(found))

    def undamaged(self, kind: RowKind, rows: Sequence[Row]) -> Iterator[Row]:
        """Those of `rows` that are as they were written; the others are logged, each once."""
        for row in rows:
            if self.macs.holds(kind, row):
                yield row
            else:
                self.place.log_once(kind, row)

    def damaged(self, connection: Connection, kind: RowKind) -> Iterator[str]:
        """The names of all damaged rows of a table."""
        for rows in connection.execute(kind.select).partitions(_SCAN_AT_ONCE):
            for row in rows:
                if not self.macs.holds(kind, row):
                    yield self.place.name(kind, kind.values(row))
