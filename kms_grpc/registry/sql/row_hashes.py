"""Hashes over all protected rows of a shard, by which a row that was rolled back or removed is noticed.

A row's own MAC cannot tell that the row is an older copy of itself. So 256 buckets keep a keyed multiset hash each,
after MSet-Add-Hash of Clarke and others (https://people.csail.mit.edu/devadas/pubs/mhashes.pdf). A row belongs to the
bucket that the first byte of its MAC names. A write changes the buckets of the MACs that it adds and takes away,
whatever the number of rows; two writers seldom share one.

    element(row)      HMAC(frame("element", partition, region, row's MAC)), as a big-endian number
    mask(b, counter)  HMAC(frame("mask", partition, region, b, counter)), b and counter as 8 bytes, big-endian
    total of bucket b (the sum of its rows' elements + mask(b, counter)) mod 2^256, 32 bytes, big-endian

The HMAC is HMAC-SHA-256 under the key of the rows' MACs. The mask changes with each write, so two copies of a file do
not tell what a row added. `counter` goes forward with each commit of the shard, and a bucket holds that of the last
commit that changed it. The mark (mark.py) keeps the counters outside the shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Executable, bindparam, func, insert, or_, select, update

from kms_grpc.errors import KMSInternalException
from kms_grpc.registry.sql.rows import Row, RowKind, RowMac, Values
from kms_grpc.registry.sql.tables import row_hashes

BUCKETS: Final = 256
ALL: Final = range(BUCKETS)
MODULUS: Final = 1 << 256

ROW_HASH = RowKind(row_hashes, lambda place, values: f"row hash {values['bucket']} of region {place.region}")

_LAST = select(func.max(row_hashes.c.counter)).scalar_subquery()
_CHANGE = update(row_hashes).where(row_hashes.c.bucket == bindparam("of_bucket"))
ADD_ROW_HASH = insert(row_hashes)

Execute = Callable[[Executable, Any], Any]
Marked = Callable[[Sequence[int]], Mapping[int, int]]
"""Returns the counters that are known outside the shard, by bucket."""


@lru_cache
def _some(count: int) -> Executable:
    """Returns the statement that reads `count` buckets, and with each the last counter of the shard. An expanding list
    would be compiled anew at each use."""
    names = (row_hashes.c.bucket == bindparam(f"bucket_{i}") for i in range(count))
    return ROW_HASH.select.add_columns(_LAST).where(or_(*names))


def element(macs: RowMac, mac: bytes) -> int:
    """Returns what a row with this MAC adds to the total of its bucket."""
    return int.from_bytes(macs.derive(b"element", mac))


def sealed_total(macs: RowMac, bucket: int, counter: int, row_count: int, total: int) -> Values:
    """Returns the row of a bucket with its masked total and its MAC."""
    masked = (total + _mask(macs, bucket, counter)) % MODULUS
    values = {"bucket": bucket, "counter": counter, "row_count": row_count, "total": masked.to_bytes(32)}
    return macs.seal(ROW_HASH, values)


def opened_total(macs: RowMac, row: Row) -> int:
    """Returns the total of a bucket whose row is whole, without its mask."""
    values = ROW_HASH.values(row)
    return (int.from_bytes(values["total"]) - _mask(macs, values["bucket"], values["counter"])) % MODULUS


def _mask(macs: RowMac, bucket: int, counter: int) -> int:
    return int.from_bytes(macs.derive(b"mask", bucket.to_bytes(8), counter.to_bytes(8)))


class HashChanges:
    """Collects what a transaction adds to the buckets and takes from them."""

    def __init__(self, macs: RowMac) -> None:
        self._macs = macs
        self._pending: dict[int, tuple[int, int]] = {}
        """Number of rows and sum of elements by bucket."""

    def add(self, mac: bytes) -> None:
        self._count(mac, 1)

    def take(self, mac: object) -> None:
        """Takes a row away. One without a MAC was damaged and is in no bucket."""
        if isinstance(mac, bytes) and mac:
            self._count(mac, -1)

    def _count(self, mac: bytes, sign: int) -> None:
        count, total = self._pending.get(mac[0], (0, 0))
        self._pending[mac[0]] = (count + sign, total + sign * element(self._macs, mac))

    def store(self, execute: Execute, region: str, marked: Marked) -> dict[int, int]:
        """Stores the changed buckets and returns their new counters. KMSInternalException if a bucket is damaged or
        older than the mark: what was committed must not be covered up by a newer counter."""
        changed = [bucket for bucket, change in sorted(self._pending.items()) if change != (0, 0)]
        if not changed:
            return {}
        found = execute(_some(len(changed)), {f"bucket_{i}": bucket for i, bucket in enumerate(changed)}).fetchall()
        rows = {row[0]: row[:-1] for row in found}
        known = marked(changed)
        if not all(self._is_current(rows.get(bucket), known[bucket]) for bucket in changed):
            raise older_than_known(region)
        counter = found[0][-1] + 1
        execute(_CHANGE, [{**self._changed(rows[bucket], counter), "of_bucket": bucket} for bucket in changed])
        return dict.fromkeys(changed, counter)

    def _is_current(self, row: Row | None, known: int) -> bool:
        return row is not None and self._macs.holds(ROW_HASH, row) and row[1] >= known

    def _changed(self, row: Row, counter: int) -> Values:
        bucket, _, row_count, *_ = row
        rows_more, more = self._pending[bucket]
        total = opened_total(self._macs, row) + more
        return sealed_total(self._macs, bucket, counter, row_count + rows_more, total)


def older_than_known(region: str) -> KMSInternalException:
    """Returns the refusal of a write to a shard that is older than what was committed to it."""
    return KMSInternalException(
        f"The registry of region {region} is older than what was committed to it, or was changed on disk, so nothing "
        "is written to it. Stop the server; `kms-grpc check` says more."
    )


def totals(macs: RowMac, rows_macs: Iterator[bytes]) -> list[tuple[int, int]]:
    """Returns number of rows and sum of elements of each bucket."""
    found = [(0, 0)] * BUCKETS
    for mac in rows_macs:
        count, total = found[mac[0]]
        found[mac[0]] = (count + 1, total + element(macs, mac))
    return found
