"""Compares the rows of a shard with its row hashes, and the row hashes with its mark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from kms_grpc.registry.mark import Mark, MarkUnusable
from kms_grpc.registry.sql.row_hashes import ALL, BUCKETS
from kms_grpc.registry.sql.scan import Findings


class Compared(Protocol):
    """A shard with its mark."""

    @property
    def mark(self) -> Mark: ...

    def findings(self, buckets: range = ALL) -> Findings:
        """Scans all rows, or those of some buckets, in one state of the shard."""

    def counters(self) -> Findings:
        """Reads the row hashes without the rows."""


def compare(registry: Compared, buckets: range = ALL) -> tuple[Findings, list[str]]:
    """Scans a shard, or some buckets of it. Returns the findings, and in words how the shard differs from what was
    committed to it last. Raises OSError."""
    return _compare(registry, buckets, lambda: registry.findings(buckets))


def compare_counters(registry: Compared) -> list[str]:
    """Compares the row hashes with the mark, without a scan of the rows; otherwise like `compare`."""
    return _compare(registry, ALL, registry.counters)[1]


def _compare(registry: Compared, buckets: Sequence[int], scan: Callable[[], Findings]) -> tuple[Findings, list[str]]:
    """A server may be writing: the mark is read first, since it never leads the shard."""
    known: Mapping[int, int] = {}
    unusable = []
    try:
        known = registry.mark.counters(buckets)
    except MarkUnusable as error:
        unusable.append(str(error))
    findings = scan()
    return findings, [*_wrong_hashes(findings), *unusable, *_behind(findings, known, registry.mark)]


def _wrong_hashes(findings: Findings) -> Iterator[str]:
    if findings.older:
        yield (
            f"{len(findings.older)} of {BUCKETS} row hashes do not fit their rows: rows are older than they were, are "
            "missing or were put in"
        )


def _behind(findings: Findings, known: Mapping[int, int], mark: Mark) -> Iterator[str]:
    behind = [bucket for bucket, counter in findings.counters.items() if counter < known.get(bucket, 0)]
    if behind:
        last, there = max(known.values()), max(findings.counters.values())
        yield (
            f"commits are missing: the mark {mark.path} knows commit {last}, and the shard has {there} as its last"
            if there < last
            else f"{len(behind)} of {BUCKETS} row hashes are older than the mark {mark.path}"
        )
