"""Rows of audit records that wait to be copied into the log."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, insert, select

from kms_grpc.registry.base import OutboxRow
from kms_grpc.registry.sql.reader import LIMIT, Reader
from kms_grpc.registry.sql.tables import outbox
from kms_grpc.registry.sql.writer import Writer

_REMOVED_AT_ONCE = 500

_ADD = insert(outbox)
_OLDEST = select(outbox.c.event_id, outbox.c.account, outbox.c.record).order_by(outbox.c.position).limit(LIMIT)
_REMOVE = delete(outbox).where(outbox.c.event_id.in_(bindparam("event_ids", expanding=True)))


class SqlOutbox:
    """Implements base.Outbox."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def oldest(self, limit: int) -> Sequence[OutboxRow]:
        return [OutboxRow(*row) for row in self._reader.all(_OLDEST, {"limit_rows": limit})]


class SqlWritableOutbox(SqlOutbox):
    """Implements base.WritableOutbox."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._writer = writer

    def add(self, row: OutboxRow) -> None:
        self._writer.execute(_ADD, {"event_id": row.event_id, "account": row.account, "record": row.record})

    def remove(self, event_ids: Sequence[str]) -> None:
        for start in range(0, len(event_ids), _REMOVED_AT_ONCE):
            self._writer.execute(_REMOVE, {"event_ids": list(event_ids[start : start + _REMOVED_AT_ONCE])})
