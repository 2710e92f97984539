"""Rows of access keys."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, insert

from kms_grpc.model.access_key import AccessKey
from kms_grpc.registry.sql.reader import Reader
from kms_grpc.registry.sql.rows import Row, RowKind
from kms_grpc.registry.sql.tables import access_keys
from kms_grpc.registry.sql.writer import Writer

ACCESS_KEY = RowKind(access_keys, lambda place, values: f"access key {values['access_key_id']}")

_OF_ID = access_keys.c.access_key_id == bindparam("of_access_key_id")
_FIND = ACCESS_KEY.select.where(_OF_ID)
_LIST = ACCESS_KEY.select.order_by(access_keys.c.created_ns, access_keys.c.access_key_id)
_ADD = insert(access_keys)
_REMOVE = delete(access_keys).where(_OF_ID)


def _access_key(row: Row) -> AccessKey:
    return AccessKey(**ACCESS_KEY.values(row))


class SqlAccessKeys:
    """Implements base.AccessKeys."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def find(self, access_key_id: str) -> AccessKey | None:
        row = self._reader.first(_FIND, {"of_access_key_id": access_key_id})
        if row is not None and not self._reader.macs.holds(ACCESS_KEY, row):
            raise self._reader.damage.unavailable(f"Access key {access_key_id}")
        return _access_key(row) if row is not None else None

    def list_all(self) -> Sequence[AccessKey]:
        rows = self._reader.undamaged(ACCESS_KEY, self._reader.all(_LIST, {}))
        return [_access_key(row) for row in rows]


class SqlWritableAccessKeys(SqlAccessKeys):
    """Implements base.WritableAccessKeys."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._writer = writer

    def add(self, access_key: AccessKey) -> None:
        values = {name: getattr(access_key, name) for name in ACCESS_KEY.columns}
        self._writer.add(_ADD, ACCESS_KEY, values, f"There is an access key {access_key.access_key_id}")
        self._writer.log_change("access key", access_key.access_key_id)

    def remove(self, access_key_id: str) -> None:
        self._writer.remove(_REMOVE, ACCESS_KEY, {"of_access_key_id": access_key_id})
        self._writer.log_change("access key", access_key_id)
