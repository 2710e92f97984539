"""Writes of one transaction: protected rows, compare-and-set on their revisions, and the change log."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Delete,
    Executable,
    Select,
    Update,
    bindparam,
    delete,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError

from kms_grpc.errors import AlreadyExistsException, ConflictException
from kms_grpc.model.key import Key, Material
from kms_grpc.registry.change import Name
from kms_grpc.registry.sql.prepared import Result, run
from kms_grpc.registry.sql.reader import Reader
from kms_grpc.registry.sql.row_hashes import HashChanges
from kms_grpc.registry.sql.rows import Row, RowKind, Values
from kms_grpc.registry.sql.tables import change_log

SEEN: BindParameter[Any] = bindparam("seen_revision")
"""Parameter of a statement that writes a row: the revision that the caller has read."""
OF_KEY: BindParameter[Any] = bindparam("of_key_id")
"""Parameter of a statement about the rows of one key."""

CHANGES_KEPT = 16_384
"""Entries that stay in the change log. A worker that is further behind drops all that it has cached."""
_TRIM_EVERY = 1_024

_ADD_CHANGE = insert(change_log).returning(change_log.c.sequence)
_TRIM_CHANGES = delete(change_log).where(change_log.c.sequence <= bindparam("until"))


class Writer(Reader):
    """A transaction under way, over its connection."""

    def __init__(self, connection: Connection, reader: Reader) -> None:
        lent = nullcontext(connection)
        super().__init__(lambda: lent, reader.macs, reader.damage)
        self._connection = connection
        self.hashes = HashChanges(reader.macs)
        self._macs_noted: dict[tuple[bytes, bytes], bytes] = {}
        """Present MACs of rows that have a digest, by table and digest."""
        self.entries = 0
        """Entries that the transaction has added to the change log."""
        self.touched: set[Name] = set()
        """See base.Transaction.touched."""
        self.created: list[tuple[Key, Material | None]] = []

    def execute(self, statement: Executable, parameters: Values | Sequence[Values]) -> Result:
        return run(self._connection, statement, parameters)

    def add(self, statement: Executable, kind: RowKind, values: Values, exists: str) -> None:
        """Inserts a protected row. Raises AlreadyExistsException with the text `exists` if its name is taken."""
        sealed = self.macs.seal(kind, values)
        try:
            self.execute(statement, sealed)
        except IntegrityError as error:
            raise AlreadyExistsException(exists) from error
        self.hashes.add(sealed[kind.placed_by.name], sealed["mac"])
        self._note(kind, sealed["mac"], sealed.get("digest"))

    def find(
        self, kind: RowKind, by_name: Executable, by_digest: Executable, **name: str | bytes
    ) -> tuple[Row | None, list[Row]]:
        row, damaged = super().find(kind, by_name, by_digest, **name)
        if row is not None:
            self._note(kind, row[-1], row[kind.place_at])
        return row, damaged

    def change(self, statement: Update, kind: RowKind, values: Values, seen: Values, name: str) -> None:
        """Updates the row that `seen` identifies by name and revision. Raises ConflictException if the revision is
        another."""
        sealed = self.macs.seal(kind, values)
        former = self._former(statement, kind, seen)
        if former is None or self.execute(statement, {**sealed, **seen}).rowcount != 1:
            raise _conflict(name)
        self.hashes.take(*former)
        self.hashes.add(sealed[kind.placed_by.name], sealed["mac"])
        self._note(kind, sealed["mac"], sealed.get("digest"))

    def _former(self, statement: Update, kind: RowKind, seen: Values) -> tuple[Any, Any] | None:
        """Returns place and MAC of the row that is about to be changed: from what the transaction has read or written,
        or else from the shard."""
        digest = seen.get("of_digest")
        mac = None if digest is None else self._macs_noted.get((kind.label, digest))
        return self.first(_macs_of(statement, kind), seen) if mac is None else (digest, mac)

    def _note(self, kind: RowKind, mac: bytes, digest: bytes | None) -> None:
        """Remembers the present MAC of a row. No other transaction changes it while this one is under way."""
        if digest is not None:
            self._macs_noted[kind.label, digest] = mac

    def remove_seen(self, statement: Delete, kind: RowKind, seen: Values, name: str) -> None:
        """Deletes the row that `seen` identifies by name and revision. Raises ConflictException if the revision is
        another."""
        if self.remove(statement, kind, seen) != 1:
            raise _conflict(name)

    def remove(self, statement: Delete, kind: RowKind, parameters: Values) -> int:
        """Deletes protected rows; returns how many."""
        removed = self.all(_returning(statement, kind), parameters)
        for place, mac in removed:
            self.hashes.take(place, mac)
        return len(removed)

    def log_change(self, kind: str, name: str) -> int:
        """Adds an entry to the change log; returns its number."""
        ((sequence,),) = self.execute(_ADD_CHANGE, {"kind": kind, "name": name}).fetchall()
        if sequence % _TRIM_EVERY == 0:
            self.execute(_TRIM_CHANGES, {"until": sequence - CHANGES_KEPT})
        self.entries += 1
        self.touched.add((kind, name))
        return int(sequence)


def _conflict(name: str) -> ConflictException:
    return ConflictException(f"{name} was changed by another call meanwhile. Repeat the call.", key=name)


@lru_cache
def _macs_of(statement: Update, kind: RowKind) -> Select[Any]:
    """Returns the statement that reads place and MAC of the row that `statement` changes."""
    where: Any = statement.whereclause
    return select(kind.placed_by, kind.table.c.mac.label("its_mac")).where(where)


@lru_cache
def _returning(statement: Delete, kind: RowKind) -> Executable:
    """Returns the statement with place and MAC of each row that it deletes as its result."""
    return statement.returning(kind.placed_by, kind.table.c.mac.label("its_mac"))
