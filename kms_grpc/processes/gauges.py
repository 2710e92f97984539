"""Gauges and counts of one process in a mapped file, which the supervisor reads for /metrics.

The file has one i64 in native order for each name. A worker writes its own at each beat, once a second, and of them its
descriptors every five seconds; the keeper writes after each pass, ten seconds apart at most. Counters of calls are in
audit/counters.py.
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
    "audit_not_written": "Refusals of unknown callers that were counted and not written, beyond a peer's rate",
    "audit_held_bytes": "Bytes of audit records waiting in memory",
    "audit_reserve_bytes": "Bytes that the audit log can still write on a full disk",
    "audit_gaps": "How often the audit log was deleted while it was written",
    "audit_blocked": "1 while the audit log cannot be written",
    "descriptors": "Files and connections that the process has open",
    "descriptors_limit": "Files and connections that it may open",
    "aws_connections": "Connections to the AWS endpoint",
    "credentials_throttled": "Calls whose credentials do not verify, throttled for too many of their address",
    "aws_strangers_refused": "Connections and requests that the AWS endpoint refused for a bound on strangers",
    "tls_seconds_to_expiry": "Seconds until the TLS certificate expires, absent without TLS",
}
KEEPER: Final = {
    "outbox_waiting": "Audit records of writes waiting to be copied into the log, counted up to one batch per region",
    "outbox_copied": "Audit records of writes copied into the log",
    "outbox_failing": "Regions whose audit records the last pass failed to copy",
    "registry_writable": "1 if the last try to write to each region's shard succeeded",
    "answers_forgotten": "Remembered responses removed after 24 hours",
    "keys_deleted": "Keys deleted at the end of their waiting period",
    "keys_rotated": "Automatic rotations",
    "materials_expired": "Keys whose expired key material was removed",
    "keys_pending_deletion": "Keys pending deletion",
    "seconds_to_next_deletion": "Seconds until the next key is deleted, absent if none is pending deletion",
    "seconds_to_next_expiry": "Seconds until the next imported key material expires, absent if none does",
    "changes_made_up": "Changes that were committed but not announced",
    "wrong_buckets": "Row hashes that do not fit their rows: rows are older, missing or put in",
    "sqlite_loses_commits": "1 if the SQLite library has the WAL-reset bug",
    "clock_jumps": "Jumps of the wall clock",
}
COUNTS: Final = frozenset(
    {
        *("audit_dropped", "outbox_copied", "answers_forgotten", "keys_deleted", "keys_rotated", "materials_expired"),
        *(
            "audit_gaps",
            "audit_not_written",
            "aws_strangers_refused",
            "credentials_throttled",
            "clock_jumps",
            "changes_made_up",
        ),
    }
)
"""Names of the values that only grow while their process lives: counters for Prometheus."""
NONE_IS_NEGATIVE: Final = frozenset({"seconds_to_next_deletion", "seconds_to_next_expiry"})
"""Gauges that are -1 if there is no value."""


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
