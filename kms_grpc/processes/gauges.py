"""Gauges of one process in a mapped file, which the supervisor reads for /metrics: one i64 in native order per name.

A worker writes its gauges once a second, the keeper after each pass. Counters are in audit/counters.py.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Final

WORKER: Final = {
    "memory_locked": "1 if the memory pages that hold keys are locked",
    "cached_keys": "Keys in the worker's cache",
    "keyring_slots_used": "Keyring slots in use",
    "audit_dropped": "Audit records lost because the log could not be written",
    "audit_held_bytes": "Bytes of audit records waiting in memory",
    "audit_reserve_bytes": "Bytes that the audit log can still write on a full disk",
    "audit_gaps": "How often the audit log was deleted since the worker started",
    "audit_blocked": "1 while the audit log cannot be written",
    "tls_seconds_to_expiry": "Seconds until the TLS certificate expires, 0 without TLS",
}
KEEPER: Final = {
    "outbox_waiting": "Audit records of writes waiting to be copied into the log, counted up to one batch per region",
    "outbox_copied": "Audit records of writes copied into the log since the keeper started",
    "outbox_failing": "Regions whose audit records the last pass failed to copy",
    "answers_forgotten": "Remembered responses removed after 24 hours since the keeper started",
    "keys_deleted": "Keys deleted at the end of their waiting period since the keeper started",
    "keys_rotated": "Automatic rotations since the keeper started",
    "materials_expired": "Keys whose expired key material was removed since the keeper started",
    "keys_pending_deletion": "Keys pending deletion",
    "seconds_to_next_deletion": "Seconds until the next key is deleted, -1 if none is pending deletion",
    "seconds_to_next_expiry": "Seconds until the next imported key material expires, -1 if none does",
    "wrong_buckets": "Row hashes that do not fit their rows: rows are older, missing or put in",
    "sqlite_loses_commits": "1 if the SQLite library has the WAL-reset bug",
    "clock_jumps": "Jumps of the wall clock since the keeper started",
}


class Gauges:
    """Named numbers in a mapped file."""

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        """Map a file of 8 * len(names) bytes. Raises OSError."""
        self._index = {name: index for index, name in enumerate(names)}
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), 8 * len(names))).cast("q")

    def put(self, values: Mapping[str, int]) -> None:
        """Set these gauges. Raises KeyError for an unknown name."""
        for name, value in values.items():
            self._cells[self._index[name]] = value

    def values(self) -> dict[str, int]:
        return {name: self._cells[index] for name, index in self._index.items()}
