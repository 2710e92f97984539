"""The row of the latest time that was recorded in the shard."""

from __future__ import annotations

from sqlalchemy import delete, insert

from kms_grpc.registry.sql.reader import Reader
from kms_grpc.registry.sql.rows import RowKind
from kms_grpc.registry.sql.tables import latest_time
from kms_grpc.registry.sql.writer import Writer

LATEST_TIME = RowKind(latest_time, lambda place, values: f"latest time of region {place.region}")

_REMOVE = delete(latest_time)
_ADD = insert(latest_time)


class SqlLatestTime:
    """Implements base.LatestTime."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def read_ns(self) -> int:
        row = self._reader.first(LATEST_TIME.select, {})
        if row is None:
            return 0
        if not self._reader.macs.holds(LATEST_TIME, row):
            raise self._reader.damage.latest_time_damaged()
        return int(LATEST_TIME.values(row)["latest_ns"])


class SqlWritableLatestTime(SqlLatestTime):
    """Implements base.WritableLatestTime."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._writer = writer

    def advance(self, time_ns: int) -> int:
        latest = self.read_ns()
        if time_ns <= latest:
            return latest
        self._write(time_ns)
        return time_ns

    def rewrite(self, time_ns: int = 0) -> None:
        self._write(max(self.read_ns(), time_ns))

    def _write(self, time_ns: int) -> None:
        self._writer.remove(_REMOVE, LATEST_TIME, {})
        self._writer.add(_ADD, LATEST_TIME, {"id": 1, "latest_ns": time_ns}, "The latest time is recorded already")
