"""Reads of the change log. Its entries are written by writer.Writer.log_change."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from kms_grpc.registry.change import Change
from kms_grpc.registry.sql.reader import AFTER, LIMIT, Reader
from kms_grpc.registry.sql.tables import change_log

_LAST = select(func.max(change_log.c.sequence))
_LIST = (
    select(change_log.c.sequence, change_log.c.kind, change_log.c.name)
    .where(change_log.c.sequence > AFTER)
    .order_by(change_log.c.sequence)
    .limit(LIMIT)
)


class SqlChanges:
    """Implements base.Changes. Numbers come from SQLite's AUTOINCREMENT: none is missing, none is used again."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def last(self) -> int:
        return self._reader.count(_LAST, {})

    def list_after(self, sequence: int, limit: int) -> Sequence[Change]:
        return [Change(*row) for row in self._reader.all(_LIST, {"after": sequence, "limit_rows": limit})]
