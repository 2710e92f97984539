"""Rows of audit records that wait to be copied into the log."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, insert

from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.sql.reader import LIMIT, Reader
from kms_grpc.registry.sql.rows import RowKind
from kms_grpc.registry.sql.tables import outbox
from kms_grpc.registry.sql.writer import Writer

_REMOVED_AT_ONCE = 500

OUTBOX = RowKind(outbox, lambda place, values: f"audit record {values['event_id']} in the outbox", ("position",))

_ADD = insert(outbox)
_OLDEST = OUTBOX.select.order_by(outbox.c.position).limit(LIMIT)
_REMOVE = delete(outbox).where(outbox.c.event_id.in_(bindparam("event_ids", expanding=True)))


class SqlOutbox:
    """Implements base.Outbox."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def oldest(self, limit: int) -> Sequence[OutboxRow]:
        return [OutboxRow(**OUTBOX.values(row)) for row in self._reader.page(OUTBOX, _OLDEST, {}, limit)]


class SqlWritableOutbox(SqlOutbox):
    """Implements base.WritableOutbox."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._writer = writer

    def add(self, row: OutboxRow) -> None:
        values = {"event_id": row.event_id, "account": row.account, "record": row.record}
        self._writer.add(_ADD, OUTBOX, values, f"The audit record {row.event_id} exists already")

    def remove(self, event_ids: Sequence[str]) -> None:
        for start in range(0, len(event_ids), _REMOVED_AT_ONCE):
            self._writer.remove(_REMOVE, OUTBOX, {"event_ids": list(event_ids[start : start + _REMOVED_AT_ONCE])})
