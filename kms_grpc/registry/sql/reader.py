"""Reads of protected rows: a row that was changed on disk is told from one that is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any

from sqlalchemy import BindParameter, Connection, Executable, bindparam

from kms_grpc.registry.sql.damage import DamageReports
from kms_grpc.registry.sql.prepared import run
from kms_grpc.registry.sql.rows import Row, RowKind, RowMac, Values, digest

AFTER: BindParameter[Any] = bindparam("after")
"""Parameter of a statement that reads a page: the position before it."""
LIMIT: BindParameter[Any] = bindparam("limit_rows")
"""Parameter of a statement that reads a page: the number of rows."""
DIGEST: BindParameter[Any] = bindparam("of_digest")
"""Parameter of a statement that finds a row by its second name (rows.digest)."""


class Reader:
    """Runs statements over connections that `lend` gives, one for each statement."""

    def __init__(
        self, lend: Callable[[], AbstractContextManager[Connection]], macs: RowMac, damage: DamageReports
    ) -> None:
        self.lend = lend
        self.macs = macs
        self.damage = damage

    def first(self, statement: Executable, parameters: Values) -> Any:
        with self.lend() as connection, closing(run(connection, statement, parameters)) as result:
            return result.fetchone()

    def all(self, statement: Executable, parameters: Values) -> Sequence[Any]:
        with self.lend() as connection:
            return run(connection, statement, parameters).fetchall()

    def count(self, statement: Executable, parameters: Values) -> int:
        row = self.first(statement, parameters)
        return (row[0] or 0) if row is not None else 0

    def find(
        self, kind: RowKind, by_name: Executable, by_digest: Executable, **name: str | bytes
    ) -> tuple[Row | None, list[Row]]:
        """Returns the row of that name if it is whole, and otherwise the damaged rows that may be it."""
        named = self.first(by_name, name)
        if named is not None and self.macs.holds(kind, named):
            return named, []
        second = self.first(by_digest, {"of_digest": digest(*name.values())})
        if second is not None and self.macs.holds(kind, second):
            return second, []
        return None, [row for row in (named, second) if row is not None]

    def page(self, kind: RowKind, statement: Executable, parameters: Values, limit: int) -> list[Row]:
        """Returns the first `limit` whole rows that the statement gives. Damaged rows do not count, wherever they
        stand."""
        damaged = 0
        while True:
            rows = self.all(statement, {**parameters, "limit_rows": limit + damaged})
            found = list(self.undamaged(kind, rows))
            if len(found) >= limit or len(rows) < limit + damaged:
                return found[:limit]
            damaged = 2 * (len(rows) - len(found))

    def undamaged(self, kind: RowKind, rows: Sequence[Row]) -> Iterator[Row]:
        """Yields the whole rows among `rows`; logs the others, each once."""
        for row in rows:
            if self.macs.holds(kind, row):
                yield row
            else:
                self.damage.log_once(kind, row)
