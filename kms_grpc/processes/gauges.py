"""Gauges of one process, in memory that the supervisor reads: a file of i64 in native order, one for each name.

The processes write theirs once a second; /metrics reads them. Counters are in audit/counters.py.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Final

WORKER: Final = {
    "memory_locked": "1 if the pages that hold keys are locked in memory",
    "cached_keys": "Keys whose row and material the worker keeps at hand",
    "keyring_slots_used": "Slots of the keyring in use",
    "audit_dropped": "Audit records lost because the log could not be written",
    "audit_held_bytes": "Bytes of audit records that wait in memory",
    "audit_reserve_bytes": "Bytes the audit log can still take on a full disk",
    "audit_blocked": "1 while the audit log cannot be written",
    "tls_seconds_to_expiry": "Seconds until the TLS certificate expires, 0 without TLS",
}
KEEPER: Final = {
    "outbox_waiting": "Audit records of writes that wait to be copied into the log, at most a batch per region",
    "outbox_copied": "Audit records of writes copied into the log since the keeper started",
    "outbox_failing": "Regions whose audit records could not be copied in the last pass",
    "answers_forgotten": "Remembered answers forgotten since the keeper started",
    "keys_deleted": "Keys deleted since the keeper started, their waiting period over",
    "keys_rotated": "Automatic rotations since the keeper started",
    "materials_expired": "Keys that lost an expired material since the keeper started",
    "keys_pending_deletion": "Keys that wait for their deletion",
    "seconds_to_next_deletion": "Seconds until the next key is deleted, -1 if none waits",
    "seconds_to_next_expiry": "Seconds until the next imported material expires, -1 if none does",
    "clock_jumps": "Times the wall clock was seen to jump since the keeper started",
}


class Gauges:
    """Named numbers in a mapped file."""

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        """Map a file of 8 * len(names) bytes. Raises OSError."""
        self._index = {name: index for index, name in enumerate(names)}
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), 8 * len(names))).cast("q")

    def put(self, values: Mapping[str, int]) -> None:
        """Set those gauges. KeyError for a name that is none of ours."""
        for name, value in values.items():
            self._cells[self._index[name]] = value

    def values(self) -> dict[str, int]:
        return {name: self._cells[index] for name, index in self._index.items()}
