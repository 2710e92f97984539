"""Hashes over all protected rows of a shard, by which a row that was rolled back or removed is noticed.

A row's own MAC cannot tell that the row is an older copy of itself. So 256 buckets keep a keyed multiset hash each,
after MSet-Add-Hash of Clarke and others (https://people.csail.mit.edu/devadas/pubs/mhashes.pdf). A row belongs to the
bucket that the first byte of its digest names, or of its MAC in a table without digests: for both there is an index, or
the table is small. A write changes the buckets of the rows that it adds, changes and removes, whatever the number of
rows; two writers seldom share one.

    element(row)  HMAC-SHA-256(frame("element", partition, region, row's MAC)), as a big-endian number
    total         the sum of the elements of a bucket's rows, mod 2^256, 32 bytes, big-endian

The key is that of the rows' MACs. The row of a bucket has such a MAC too, over its number, counter, number of rows and
total; so somebody without the key can put back an older total, but cannot make one. `counter` goes forward with each
commit that changes the bucket. The mark (mark.py) keeps the counters outside the shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Executable, bindparam, insert, or_, update

from kms_grpc.errors import KMSInternalException
from kms_grpc.registry.sql.rows import Row, RowKind, RowMac, Values
from kms_grpc.registry.sql.tables import row_hashes

BUCKETS: Final = 256
ALL: Final = range(BUCKETS)
MODULUS: Final = 1 << 256

ROW_HASH = RowKind(row_hashes, lambda place, values: f"row hash {values['bucket']} of region {place.region}")

_CHANGE = update(row_hashes).where(row_hashes.c.bucket == bindparam("of_bucket"))
ADD_ROW_HASH = insert(row_hashes)

Execute = Callable[[Executable, Any], Any]
Marked = Callable[[], Sequence[int]]
"""Returns the counters of all buckets that are known outside the shard."""


@lru_cache
def _some(count: int) -> Executable:
    """Returns the statement that reads `count` buckets. An expanding list would be compiled anew at each use."""
    return ROW_HASH.select.where(or_(*(row_hashes.c.bucket == bindparam(f"bucket_{i}") for i in range(count))))


def element(macs: RowMac, mac: bytes) -> int:
    """Returns the number that a row with this MAC adds to the total of its bucket."""
    return int.from_bytes(macs.derive(b"element", mac))


def sealed_total(macs: RowMac, bucket: int, counter: int, row_count: int, total: int) -> Values:
    """Returns the row of a bucket with its MAC."""
    stored = (total % MODULUS).to_bytes(32)
    return macs.seal(ROW_HASH, {"bucket": bucket, "counter": counter, "row_count": row_count, "total": stored})


class HashChanges:
    """Collects what a transaction adds to the buckets and takes from them."""

    def __init__(self, macs: RowMac) -> None:
        self._macs = macs
        self._pending: dict[int, tuple[int, int]] = {}
        """Number of rows and sum of elements by bucket."""

    def add(self, place: bytes, mac: bytes) -> None:
        """Adds a row. `place` is the column that its kind is placed by."""
        self._count(place, mac, 1)

    def take(self, place: object, mac: object) -> None:
        """Takes a row away. One without a MAC or a place was damaged and is in no bucket."""
        if isinstance(mac, bytes) and mac and isinstance(place, bytes) and place:
            self._count(place, mac, -1)

    def _count(self, place: bytes, mac: bytes, sign: int) -> None:
        count, total = self._pending.get(place[0], (0, 0))
        self._pending[place[0]] = (count + sign, total + sign * element(self._macs, mac))

    def store(self, execute: Execute, region: str, marked: Marked) -> dict[int, int]:
        """Stores the changed buckets and returns their new counters. Raises KMSInternalException if a bucket is damaged
        or older than the mark: a newer counter must not cover that up."""
        changed = [bucket for bucket, change in sorted(self._pending.items()) if change != (0, 0)]
        if not changed:
            return {}
        found = execute(_some(len(changed)), {f"bucket_{i}": bucket for i, bucket in enumerate(changed)}).fetchall()
        rows = {row[0]: row for row in found}
        known = marked()
        if not all(self._is_current(rows.get(bucket), known[bucket]) for bucket in changed):
            raise older_than_known(region)
        counter = 1 + max(*known, *(rows[bucket][1] for bucket in changed))
        execute(_CHANGE, [{**self._changed(rows[bucket], counter), "of_bucket": bucket} for bucket in changed])
        return dict.fromkeys(changed, counter)

    def _is_current(self, row: Row | None, known: int) -> bool:
        return row is not None and self._macs.holds(ROW_HASH, row) and row[1] >= known

    def _changed(self, row: Row, counter: int) -> Values:
        bucket, _, row_count, total, *_ = row
        rows_more, more = self._pending[bucket]
        return sealed_total(self._macs, bucket, counter, row_count + rows_more, int.from_bytes(total) + more)


def older_than_known(region: str) -> KMSInternalException:
    """Returns the refusal of a write to a shard that is older than what was committed to it."""
    return KMSInternalException(
        f"The registry of region {region} is older than what was committed to it, or was changed on disk, so nothing "
        "is written to it. Stop the server; `kms-grpc check` says more."
    )


def totals(macs: RowMac, rows: Iterator[tuple[bytes, bytes]]) -> list[tuple[int, int]]:
    """Returns number of rows and sum of elements of each bucket. `rows` gives the place and the MAC of each row."""
    found = [(0, 0)] * BUCKETS
    for place, mac in rows:
        count, total = found[place[0]]
        found[place[0]] = (count + 1, total + element(macs, mac))
    return found
