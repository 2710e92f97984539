"""The registry over SQL. What differs between engines is the store's (sqlite.py); statements and rules are here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Executable

from kms_grpc.errors import AlreadyExistsException
from kms_grpc.model.access_key import AccessKey
from kms_grpc.model.key import Alias, Key, KeyKind, Material
from kms_grpc.registry import statements as sql
from kms_grpc.registry.base import Change, OutboxRow, RememberedAnswer, ShardRow
from kms_grpc.registry.damage import Place
from kms_grpc.registry.protected_rows import ProtectedRows
from kms_grpc.registry.rows import (
    ACCESS_KEY,
    ALIAS,
    ANSWER,
    KEY,
    LATEST,
    MATERIAL,
    PAIR,
    SHARD,
    TAG,
    Row,
    RowMac,
    Values,
    access_key_of,
    access_key_values,
    alias_of,
    alias_values,
    answer_values,
    digest,
    key_of,
    key_values,
    material_values,
    shard_of,
)
from kms_grpc.registry.sql_life import LifeReading, LifeTransaction
from kms_grpc.registry.sqlite import SqliteStore

T = TypeVar("T")

_DELETE_AT_ONCE = 500


def _count(connection: Connection, statement: Executable, parameters: Values) -> int:
    return connection.execute(statement, parameters).scalar() or 0


class SqlTransaction(LifeTransaction):
    """See base.Transaction."""

    @property
    def changed(self) -> bool:
        return self._changes > 0

    @property
    def created(self) -> Sequence[tuple[Key, Material | None]]:
        return self._created

    def find_key(self, key_id: str) -> Key | None:
        return self._rows.key(self._connection, key_id)

    def find_alias(self, account: str, name: str) -> Alias | None:
        return self._rows.alias(self._connection, account, name)

    def count_keys(self, account: str) -> int:
        return _count(self._connection, sql.COUNT_OF_KEYS, {"account": account})

    def count_aliases(self, key_id: str) -> int:
        return _count(self._connection, sql.COUNT_ALIASES, {"key_id": key_id})

    def add_key(self, key: Key, material: Material | None) -> Key:
        key = replace(key, sequence=self._log_change("key", key.key_id))
        self._add(sql.ADD_KEY, KEY, key_values(key), f"{key.arn} already exists")
        if material is not None:
            self._add(sql.ADD_MATERIAL, MATERIAL, material_values(material), f"{key.arn} already has this key material")
        if key.kind is KeyKind.CUSTOMER_MANAGED:
            self._count_key(key.account)
        self._created.append((key, material))
        return key

    def add_alias(self, alias: Alias) -> Alias:
        exists = f"An alias with the name {alias.arn} already exists"
        if self.find_alias(alias.account, alias.name) is not None:
            raise AlreadyExistsException(exists, key=alias.arn)
        alias = replace(alias, sequence=self._log_change("alias", _alias_name(alias)))
        self._add(sql.ADD_ALIAS, ALIAS, alias_values(alias), exists)
        return alias

    def change_alias(self, alias: Alias) -> Alias:
        changed = replace(alias, revision=alias.revision + 1)
        self._change(sql.CHANGE_ALIAS, ALIAS, alias_values(changed), alias.revision, alias.arn)
        self._log_change("alias", _alias_name(alias))
        return changed

    def remove_alias(self, alias: Alias) -> None:
        seen = {"of_digest": digest(alias.account, alias.name), "seen_revision": alias.revision}
        self._change_seen(sql.REMOVE_ALIAS, seen, alias.arn)
        self._log_change("alias", _alias_name(alias))

    def find_access_key(self, access_key_id: str) -> AccessKey | None:
        return self._rows.access_key(self._connection, access_key_id)

    def add_access_key(self, access_key: AccessKey) -> None:
        exists = f"There is an access key {access_key.access_key_id}"
        self._add(sql.ADD_ACCESS_KEY, ACCESS_KEY, access_key_values(access_key), exists)
        self._log_change("access key", access_key.access_key_id)

    def remove_access_key(self, access_key_id: str) -> None:
        self._connection.execute(sql.REMOVE_ACCESS_KEY, {"of_access_key_id": access_key_id})
        self._log_change("access key", access_key_id)

    def find_answer(self, account: str, operation: str, request_id: str) -> RememberedAnswer | None:
        return self._rows.answer(self._connection, account, operation, request_id)

    def remember(self, answer: RememberedAnswer) -> None:
        values = answer_values(answer)
        self._connection.execute(sql.FORGET_ANSWER, {"of_digest": values["digest"]})
        text = f"Request {answer.request_id} of {answer.operation} has its answer already"
        self._add(sql.ADD_ANSWER, ANSWER, values, text)

    def record(self, row: OutboxRow) -> None:
        values = {"event_id": row.event_id, "account": row.account, "record": row.record}
        self._connection.execute(sql.ADD_RECORD, values)

    def _count_key(self, account: str) -> None:
        if self._connection.execute(sql.COUNT_ONE_MORE, {"of_account": account}).rowcount == 0:
            self._connection.execute(sql.COUNT_THE_FIRST, {"account": account, "keys": 1})


def _alias_name(alias: Alias) -> str:
    return f"{alias.account}/{alias.name}"


class SqlRegistry(LifeReading):
    """See base.Registry. `region_key` is the keyring handle of the key that the rows' MACs are made under."""

    def __init__(self, path: Path, partition: str, region: str, region_key: int) -> None:
        rows = ProtectedRows(RowMac(partition, region, region_key), Place(partition, region))
        super().__init__(SqliteStore(path, region), rows)

    def shard_row(self) -> ShardRow:
        row = self._one(sql.SHARD_ROW, {})
        if row is None or not self._rows.macs.holds(SHARD, row):
            raise self._rows.place.shard()
        return shard_of(row)

    @contextmanager
    def writing(self) -> Iterator[SqlTransaction]:
        with self._store.writing() as connection:
            yield SqlTransaction(connection, self._rows)

    def find_key(self, key_id: str) -> Key | None:
        with self._store.reading() as connection:
            return self._rows.key(connection, key_id)

    def find_alias(self, account: str, name: str) -> Alias | None:
        with self._store.reading() as connection:
            return self._rows.alias(connection, account, name)

    def find_material(self, key_id: str, material_id: bytes) -> Material | None:
        with self._store.reading() as connection:
            return self._rows.material(connection, key_id, material_id)

    def find_access_key(self, access_key_id: str) -> AccessKey | None:
        with self._store.reading() as connection:
            return self._rows.access_key(connection, access_key_id)

    def access_keys(self) -> Sequence[AccessKey]:
        rows = self._rows.undamaged(ACCESS_KEY, self._all(sql.ACCESS_KEYS, {}))
        return [access_key_of(row) for row in rows]

    def count_keys(self, account: str) -> int:
        with self._store.reading() as connection:
            return _count(connection, sql.COUNT_OF_KEYS, {"account": account})

    def count_aliases(self, key_id: str) -> int:
        with self._store.reading() as connection:
            return _count(connection, sql.COUNT_ALIASES, {"key_id": key_id})

    def keys_after(self, account: str, sequence: int, limit: int) -> Sequence[Key]:
        def fetch(count: int) -> Sequence[Row]:
            return self._all(sql.KEYS_AFTER, {"account": account, "after": sequence, "limit_rows": count})

        return [key_of(row) for row in self._rows.page(KEY, limit, fetch)]

    def aliases_after(self, account: str, key_id: str | None, sequence: int, limit: int) -> Sequence[Alias]:
        statement = sql.ALIASES_AFTER if key_id is None else sql.ALIASES_OF_KEY_AFTER
        whose = {"account": account} if key_id is None else {"account": account, "key_id": key_id}

        def fetch(count: int) -> Sequence[Row]:
            return self._all(statement, {**whose, "after": sequence, "limit_rows": count})

        return [alias_of(row) for row in self._rows.page(ALIAS, limit, fetch)]

    def last_change(self) -> int:
        return self._one(sql.LAST_CHANGE, {})[0] or 0

    def changes_after(self, sequence: int, limit: int) -> Sequence[Change]:
        return [Change(*row) for row in self._all(sql.CHANGES_AFTER, {"after": sequence, "limit_rows": limit})]

    def outbox(self, limit: int) -> Sequence[OutboxRow]:
        return [OutboxRow(*row) for row in self._all(sql.OUTBOX, {"limit_rows": limit})]

    def clear_outbox(self, event_ids: Sequence[str]) -> None:
        for start in range(0, len(event_ids), _DELETE_AT_ONCE):
            some = list(event_ids[start : start + _DELETE_AT_ONCE])
            with self._store.writing() as connection:
                connection.execute(sql.CLEAR_OUTBOX, {"event_ids": some})

    def forget_answers_before(self, created_ns: int) -> int:
        with self._store.writing() as connection:
            return connection.execute(sql.FORGET_ANSWERS, {"before": created_ns}).rowcount

    def damaged_rows(self) -> Sequence[str]:
        with self._store.reading() as connection:
            kinds = (SHARD, KEY, MATERIAL, ALIAS, ANSWER, TAG, PAIR, LATEST, ACCESS_KEY)
            found = [name for kind in kinds for name in self._rows.damaged(connection, kind)]
        return [*found, *self._wrong_counts()]

    def close(self) -> None:
        self._store.close()

    def _wrong_counts(self) -> list[str]:
        counted = dict(map(tuple, self._all(sql.KEYS_BY_ACCOUNT, {"kind": KeyKind.CUSTOMER_MANAGED.value})))
        kept = dict(map(tuple, self._all(sql.COUNTS, {})))
        wrong = (account for account in counted | kept if counted.get(account, 0) != kept.get(account, 0))
        return [f"count of keys of account {account}" for account in wrong]
