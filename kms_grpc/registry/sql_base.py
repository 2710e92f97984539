"""What all parts of the SQL registry share: protected writes, the change log, reads over a lent connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Executable
from sqlalchemy.exc import IntegrityError

from kms_grpc.errors import AlreadyExistsException, ConflictException
from kms_grpc.model.key import Key, Material
from kms_grpc.registry import statements as sql
from kms_grpc.registry.protected_rows import ProtectedRows
from kms_grpc.registry.rows import KEY, RowKind, Values, key_values
from kms_grpc.registry.sqlite import SqliteStore

CHANGES_KEPT = 16_384
"""Changes that stay in the log; a worker further behind drops all it has cached."""
_FORGET_EVERY = 1_024


class SqlWriting:
    """A transaction under way, over its connection."""

    def __init__(self, connection: Connection, rows: ProtectedRows) -> None:
        self._connection = connection
        self._rows = rows
        self._changes = 0
        self._created: list[tuple[Key, Material | None]] = []

    def change_key(self, key: Key) -> Key:
        """See base.Transaction."""
        changed = replace(key, revision=key.revision + 1)
        self._change(sql.CHANGE_KEY, KEY, key_values(changed), key.revision, key.arn)
        self._log_change("key", key.key_id)
        return changed

    def _add(self, statement: Executable, kind: RowKind, values: Values, exists: str) -> None:
        try:
            self._connection.execute(statement, self._rows.macs.seal(kind, values))
        except IntegrityError as error:
            raise AlreadyExistsException(exists) from error

    def _change(self, statement: Executable, kind: RowKind, values: Values, seen: int, arn: str) -> None:
        parameters = {**self._rows.macs.seal(kind, values), "of_digest": values["digest"], "seen_revision": seen}
        self._change_seen(statement, parameters, arn)

    def _change_seen(self, statement: Executable, parameters: Values, name: str) -> None:
        """A write to the one row that its parameters say was seen. ConflictException if it moved on."""
        if self._connection.execute(statement, parameters).rowcount != 1:
            raise moved_on(name)

    def _log_change(self, kind: str, name: str) -> int:
        inserted = self._connection.execute(sql.ADD_CHANGE, {"kind": kind, "name": name}).inserted_primary_key
        assert inserted is not None
        sequence = int(inserted[0])
        if sequence % _FORGET_EVERY == 0:
            self._connection.execute(sql.FORGET_CHANGES, {"until": sequence - CHANGES_KEPT})
        self._changes += 1
        return sequence


class SqlReading:
    """A registry's reads, each over a connection of its own."""

    def __init__(self, store: SqliteStore, rows: ProtectedRows) -> None:
        self._store = store
        self._rows = rows

    def _one(self, statement: Executable, parameters: Values) -> Any:
        with self._store.reading() as connection:
            return connection.execute(statement, parameters).first()

    def _all(self, statement: Executable, parameters: Values) -> Sequence[Any]:
        with self._store.reading() as connection:
            return connection.execute(statement, parameters).fetchall()


def moved_on(arn: str) -> ConflictException:
    """The refusal of a write to a row of another revision than was seen."""
    return ConflictException(f"{arn} was changed by another call meanwhile. Repeat the call.", key=arn)
