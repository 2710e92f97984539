"""Scans of protected rows: damaged ones, and buckets of the row hashes whose rows are not those that were committed.

A damaged row may still carry the MAC that it was written with (another column was changed), or still have the columns
that it was written with (the MAC was changed). A bucket is whole if its whole rows, together with some of the damaged
ones in either reading, add up to its hash: a damaged row is then unavailable by its name, and no other row is an older
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from typing import Any, Final

from sqlalchemy import Connection, bindparam

from kms_grpc.registry.sql.damage import DamageReports
from kms_grpc.registry.sql.prepared import run
from kms_grpc.registry.sql.row_hashes import ALL, BUCKETS, MODULUS, ROW_HASH, element
from kms_grpc.registry.sql.rows import Row, RowKind, RowMac, Values
from kms_grpc.registry.verified import Verified

_AT_ONCE: Final = 1_000
_NO_VALUES: Final[Values] = {}
ANYWHERE: Final = -1
"""Stands for the bucket of a damaged row whose place does not name one."""
_CANDIDATES_LIMIT: Final = 12
"""Damaged rows that are tried in one bucket. A bucket with more of them counts as older."""


@dataclass(slots=True)
class Findings:
    """The result of a scan."""

    damaged: list[str] = field(default_factory=list)
    """Names of the rows whose MAC fails."""
    older: list[int] = field(default_factory=list)
    """Buckets whose rows are not those that were committed: rows are older, missing or were put in."""
    counters: dict[int, int] = field(default_factory=dict)
    """Counters of the buckets whose own row is whole."""


class Scan:
    """Reads protected rows of one state of a shard. All statements of `connection` must see the same commit."""

    def __init__(
        self,
        connection: Connection,
        macs: RowMac,
        damage: DamageReports,
        kinds: Sequence[RowKind],
        verified: Verified,
    ) -> None:
        """`verified` remembers the row hashes from scan to scan."""
        self._connection = connection
        self._verified = verified
        self._macs = macs
        self._damage = damage
        self._kinds = kinds

    def whole(self) -> Findings:
        """Scans all rows."""
        return self._examine(ALL, ((kind, self._rows(kind.select)) for kind in self._kinds))

    def some(self, buckets: range) -> Findings:
        """Scans the rows of neighbouring buckets. A row whose place is not bytes is in no bucket; `whole` finds it."""
        return self._examine(buckets, ((kind, self._rows(*_of_buckets(kind, buckets))) for kind in self._kinds))

    def counters(self) -> Findings:
        """Reads the row hashes alone: their counters, and in `older` those that are damaged or missing."""
        findings = Findings()
        hashes = self._whole_hashes(ALL)
        findings.counters = {bucket: row[1] for bucket, row in hashes.items()}
        findings.older = [bucket for bucket in ALL if bucket not in hashes]
        return findings

    def macs_of_rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Yields the places and MACs that rows carry, those of damaged rows included."""
        for kind in self._kinds:
            for row in self._rows(kind.select):
                place, mac = row[kind.place_at], row[-1]
                if isinstance(mac, bytes) and mac and isinstance(place, bytes) and place:
                    yield place, mac

    def _examine(self, buckets: range, tables: Iterable[tuple[RowKind, Iterator[Row]]]) -> Findings:
        findings = Findings()
        sums = dict.fromkeys(range(BUCKETS), (0, 0))
        doubtful: dict[int, list[int]] = {}
        for kind, rows in tables:
            for row in rows:
                if self._macs.holds(kind, row):
                    self._count(sums, row[kind.place_at], row[-1])
                    continue
                findings.damaged.append(self._damage.name(kind, kind.values(row)))
                for mac in self._readings(kind, row):
                    place = row[kind.place_at] if kind.has_digest else mac
                    bucket = place[0] if isinstance(place, bytes) and place else ANYWHERE
                    doubtful.setdefault(bucket, []).append(element(self._macs, mac))
        hashes = self._whole_hashes(buckets)
        for bucket in buckets:
            self._compare(findings, bucket, hashes.get(bucket), sums[bucket], doubtful)
        return findings

    def _readings(self, kind: RowKind, row: Row) -> Iterator[bytes]:
        """Yields the MACs that a damaged row may have had before."""
        for mac in {self._macs.of(kind, row), row[-1]}:
            if isinstance(mac, bytes) and mac:
                yield mac

    def _count(self, sums: dict[int, tuple[int, int]], place: bytes, mac: bytes) -> None:
        count, total = sums[place[0]]
        sums[place[0]] = (count + 1, total + element(self._macs, mac))

    def _compare(
        self, findings: Findings, bucket: int, row: Row | None, found: tuple[int, int], doubtful: dict[int, list[int]]
    ) -> None:
        if row is None:
            findings.older.append(bucket)
            return
        findings.counters[bucket] = row[1]
        missing = (row[2] - found[0], (int.from_bytes(row[3]) - found[1]) % MODULUS)
        everywhere = [each for some in doubtful.values() for each in some]  # a digest may have been changed as well
        if not (_add_up(doubtful.get(bucket, []), *missing) or _add_up(everywhere, *missing)):
            findings.older.append(bucket)

    def _whole_hashes(self, buckets: range) -> dict[int, Row]:
        """Returns the row hashes of these buckets, without those that are damaged or missing."""
        rows = list(self._rows(ROW_HASH.select))
        content = repr([tuple(row) for row in rows]).encode()
        if self._verified.is_same(content):
            return {row[0]: row for row in rows}
        found = {row[0]: row for row in rows if row[0] in buckets and self._macs.holds(ROW_HASH, row)}
        if len(found) == len(rows) == BUCKETS:
            self._verified.note(content)
        return found

    def _rows(self, select: Any, values: Values = _NO_VALUES) -> Iterator[Row]:
        with closing(run(self._connection, select, values)) as result:
            while rows := result.fetchmany(_AT_ONCE):
                yield from rows


def _add_up(elements: list[int], count: int, total: int) -> bool:
    """Returns whether any `count` of the elements have that sum."""
    if count == 0:
        return total == 0
    if not 0 < count <= len(elements) <= _CANDIDATES_LIMIT:
        return False
    return any(sum(some) % MODULUS == total for some in combinations(elements, count))


def _of_buckets(kind: RowKind, buckets: range) -> tuple[Any, Values]:
    """Returns the statement that reads the rows of neighbouring buckets, and its values."""
    if buckets.stop == BUCKETS:
        return _from(kind), {"first": bytes([buckets.start])}
    return _between(kind), {"first": bytes([buckets.start]), "beyond": bytes([buckets.stop])}


@lru_cache
def _from(kind: RowKind) -> Any:
    return kind.select.where(kind.placed_by >= bindparam("first"))


@lru_cache
def _between(kind: RowKind) -> Any:
    return _from(kind).where(kind.placed_by < bindparam("beyond"))
