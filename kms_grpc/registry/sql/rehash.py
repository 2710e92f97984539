"""Makes the row hashes anew over all rows that are there: for a new shard, for one without row hashes, and for one that
was restored."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, update

from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.sql.outbox import OUTBOX, SqlWritableOutbox
from kms_grpc.registry.sql.row_hashes import ADD_ROW_HASH, sealed_total, totals
from kms_grpc.registry.sql.rows import RowKind
from kms_grpc.registry.sql.scan import Scan
from kms_grpc.registry.sql.shard_row import SHARD, ShardRow, shard_values
from kms_grpc.registry.sql.tables import outbox, row_hashes, shard
from kms_grpc.registry.sql.writer import Writer
from kms_grpc.registry.verified import Verified

_REMOVE_HASHES = delete(row_hashes)
_CHANGE_OWN = update(shard)
_UNSEALED = OUTBOX.select.where(outbox.c.mac.is_(None))
_SEAL = update(outbox).where(outbox.c.event_id == bindparam("of_event_id"))


class Rehash:
    """Makes the row hashes within a transaction."""

    def __init__(self, writer: Writer, kinds: Sequence[RowKind]) -> None:
        self._writer = writer
        self._kinds = kinds

    def store(self, counter: int, record: OutboxRow | None, own: ShardRow | None) -> None:
        """See SqlRegistry.rehash."""
        if own is not None:
            self._replace_own(own)
        if record is not None:
            SqlWritableOutbox(self._writer).add(record)
        macs = self._writer.macs
        with self._writer.lend() as connection:
            scan = Scan(connection, macs, self._writer.damage, self._kinds, Verified())
            found = totals(macs, scan.macs_of_rows())
        self._writer.execute(_REMOVE_HASHES, {})
        rows = [sealed_total(macs, bucket, counter, count, total) for bucket, (count, total) in enumerate(found)]
        self._writer.execute(ADD_ROW_HASH, rows)

    def _replace_own(self, own: ShardRow) -> None:
        macs = self._writer.macs
        self._writer.execute(_CHANGE_OWN, macs.seal(SHARD, shard_values(own)))
        for row in self._writer.all(_UNSEALED, {}):
            values = OUTBOX.values(row)
            self._writer.execute(_SEAL, {**macs.seal(OUTBOX, values), "of_event_id": values["event_id"]})
