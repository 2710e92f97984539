"""Rows of import wrapping keys (pairs)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import BindParameter, and_, bindparam, delete, func, insert, select, update

from kms_grpc.errors import KMSInternalException
from kms_grpc.model.key import ImportPair
from kms_grpc.registry.sql.reader import LIMIT, Reader
from kms_grpc.registry.sql.rows import Row, RowKind, Values, hexadecimal
from kms_grpc.registry.sql.tables import import_pairs
from kms_grpc.registry.sql.writer import OF_KEY, SEEN, Writer

PAIR = RowKind(import_pairs, lambda place, values: f"import wrapping key {hexadecimal(values['pair_id'])}")

_OF_ID: BindParameter[Any] = bindparam("of_pair_id")
_READY = and_(import_pairs.c.spec == bindparam("spec"), import_pairs.c.key_id.is_(None))
_OF_REVISION = and_(import_pairs.c.pair_id == _OF_ID, import_pairs.c.revision == SEEN)
_FIND = PAIR.select.where(import_pairs.c.pair_id == _OF_ID)
_OLDEST_READY = PAIR.select.where(_READY).order_by(import_pairs.c.created_ns).limit(LIMIT)
_COUNT_READY = select(func.count()).select_from(import_pairs).where(_READY)
_ADD = insert(import_pairs)
_CHANGE = update(import_pairs).where(_OF_REVISION)
_REMOVE = delete(import_pairs).where(_OF_REVISION)
_REMOVE_ALL = delete(import_pairs).where(import_pairs.c.key_id == OF_KEY)
_REMOVE_EXPIRED = delete(import_pairs).where(import_pairs.c.expires_ns <= bindparam("before"))


def _pair(row: Row) -> ImportPair:
    return ImportPair(**PAIR.values(row))


def _values(pair: ImportPair) -> Values:
    return {name: getattr(pair, name) for name in PAIR.columns}


def _seen(pair: ImportPair) -> Values:
    return {"of_pair_id": pair.pair_id, "seen_revision": pair.revision}


def _name(pair: ImportPair) -> str:
    return f"The wrapping key {pair.pair_id.hex()}"


class SqlPairs:
    """Implements base.Pairs."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def find(self, pair_id: bytes) -> ImportPair | None:
        row = self._reader.first(_FIND, {"of_pair_id": pair_id})
        if row is not None and not self._reader.macs.holds(PAIR, row):
            raise KMSInternalException(
                "The wrapping key of this import was changed on disk. Call GetParametersForImport again, and wrap the "
                "key material with the new one."
            )
        return _pair(row) if row is not None else None

    def oldest_ready(self, spec: str) -> ImportPair | None:
        rows = self._reader.page(PAIR, _OLDEST_READY, {"spec": spec}, 1)
        return _pair(rows[0]) if rows else None

    def count_ready(self, spec: str) -> int:
        return self._reader.count(_COUNT_READY, {"spec": spec})


class SqlWritablePairs(SqlPairs):
    """Implements base.WritablePairs."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._writer = writer

    def add(self, pair: ImportPair) -> ImportPair:
        self._writer.add(_ADD, PAIR, _values(pair), f"{_name(pair)} exists already")
        return pair

    def change(self, pair: ImportPair) -> ImportPair:
        changed = replace(pair, revision=pair.revision + 1)
        self._writer.change(_CHANGE, PAIR, _values(changed), _seen(pair), _name(pair))
        return changed

    def remove(self, pair: ImportPair) -> None:
        self._writer.remove_seen(_REMOVE, PAIR, _seen(pair), _name(pair))

    def remove_expired(self, before_ns: int) -> int:
        return self._writer.remove(_REMOVE_EXPIRED, PAIR, {"before": before_ns})

    def remove_all(self, key_id: str) -> None:
        """Removes all pairs that belong to a key."""
        self._writer.remove(_REMOVE_ALL, PAIR, {"of_key_id": key_id})
