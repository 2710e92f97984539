"""Protected rows: rows that carry a MAC over all their columns.

The MAC is HMAC-SHA-256 under a key that the core derives from the region's key, over
frame(table, partition, region, column, value, column, value …) with all columns but the MAC itself, in the table's
order. Absent values are left out, so a column that a later migration adds must be absent in rows that mean what all
rows meant before it. A value is framed with its type: `i` and decimal digits, `s` and UTF-8, `b` and bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, Table, select

from kms_grpc.crypto.framing import frame
from kms_grpc.crypto.key_wrapping import mac, mac_matches
from kms_grpc.model.arn import key_arn

Values = dict[str, Any]
"""Values of a row by column."""
Row = Sequence[Any]
"""Values of a protected row in the order of its kind's columns, the MAC last."""


class Place(NamedTuple):
    """The shard that a row belongs to."""

    partition: str
    region: str

    def key_arn(self, values: Values) -> str:
        """Returns the ARN of the key that a row of another table names by its columns `key_id` and `account`."""
        return key_arn(self.partition, self.region, str(values["account"]), str(values["key_id"]))


class RowKind:
    """A table of protected rows: its columns, the statement that reads them in the order of the MAC, and `describe`,
    which names a damaged row as well as its columns allow. Columns that the engine fills are `unsealed`. The first
    byte of the column `placed_by` says which row hash a row belongs to (row_hashes.py)."""

    def __init__(self, table: Table, describe: Callable[[Place, Values], str], unsealed: tuple[str, ...] = ()) -> None:
        self.table = table
        self.columns = tuple(column.name for column in table.c if column.name not in ("mac", *unsealed))
        self.label = table.name.encode()
        self.framed_names = tuple(frame(name.encode()) for name in self.columns)
        self.select = select(*(table.c[name] for name in self.columns), table.c.mac)
        self.describe = describe
        self.placed_by: Column[Any] = table.c.digest if "digest" in table.c else table.c.mac
        self.has_digest = "digest" in self.columns
        self.place_at = self.columns.index("digest") if self.has_digest else len(self.columns)
        """Index of that column in a row."""

    def values(self, row: Row) -> Values:
        return dict(zip(self.columns, row, strict=False))


class RowMac:
    """Makes and checks the MACs of one shard's rows."""

    def __init__(self, place: Place, region_key: int) -> None:
        self._place = (place.partition.encode(), place.region.encode())
        self._region_key = region_key
        self._starts: dict[bytes, bytes] = {}

    def seal(self, kind: RowKind, values: Mapping[str, Any]) -> Values:
        """Returns `values` together with their MAC."""
        row = [values[name] for name in kind.columns]
        return {**values, "mac": mac(self._region_key, self._framed(kind, row))}

    def holds(self, kind: RowKind, row: Row) -> bool:
        """Returns whether the row is as it was written."""
        stored = row[-1]
        return isinstance(stored, bytes) and mac_matches(self._region_key, self._framed(kind, row[:-1]), stored)

    def of(self, kind: RowKind, row: Row) -> bytes:
        """Returns the MAC that belongs to the columns of a row, whatever MAC it carries."""
        return mac(self._region_key, self._framed(kind, row[:-1]))

    def derive(self, label: bytes, *parts: bytes) -> bytes:
        """Returns 32 pseudorandom bytes for `parts` in this shard. No table has the name `label`."""
        return mac(self._region_key, self._start(label) + frame(*parts))

    def _framed(self, kind: RowKind, row: Row) -> bytes:
        parts = [self._start(kind.label)]
        for name, value in zip(kind.framed_names, row, strict=True):
            if value is not None:
                typed = _typed(value)
                parts += (name, len(typed).to_bytes(4), typed)
        return b"".join(parts)

    def _start(self, label: bytes) -> bytes:
        """Returns the beginning of all that is framed under a label in this shard."""
        start = self._starts.get(label)
        if start is None:
            start = self._starts[label] = frame(label, *self._place)
        return start


def _typed(value: Any) -> bytes:
    if isinstance(value, bytes):
        return b"b" + value
    if isinstance(value, int):
        return b"i%d" % value
    return b"s" + str(value).encode("utf-8", "surrogateescape")


def digest(*name: str | bytes) -> bytes:
    """Returns the second name of a row, 32 bytes. It finds the row when a column of its first name was changed on
    disk."""
    return hashlib.sha256(frame(*(part if isinstance(part, bytes) else part.encode() for part in name))).digest()


def hexadecimal(value: object) -> str:
    """Returns a column of bytes for people; a damaged row may hold another type."""
    return value.hex() if isinstance(value, bytes) else repr(value)
