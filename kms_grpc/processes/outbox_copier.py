"""Copies the audit records of writes from the shards' outboxes into DIR/audit/keeper.jsonl, each exactly once.

A batch of rows is written to the log, the log is synced, and only then the rows are deleted. A crash in between leaves
rows whose records are in the log already. To skip them, the copier remembers the event ids that it has written but not
deleted, and after a start it reads them from the end of the log. `keeper.position` holds where to start reading:
`{"inode", "offset"}` at a time when no rows were left. An old or missing position only means more to read. A rotated
log is found by its inode.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from kms_grpc.audit.log import FileAuditLog
from kms_grpc.errors import KMSError
from kms_grpc.faults import fault_point
from kms_grpc.registry.base import Registry
from kms_grpc.registry.rows import OutboxRow

BATCH: Final = 200
POSITION_STEP: Final = 1024 * 1024

_log = logging.getLogger(__name__)


class Position(msgspec.Struct, frozen=True):
    """A position in the log: a byte offset in the file with that inode."""

    inode: int
    offset: int


class _Line(msgspec.Struct):
    eventID: str


class OutboxCopier:
    """Copies the outboxes of all regions into one log."""

    def __init__(self, registries: Mapping[str, Registry], log: FileAuditLog, position_file: Path) -> None:
        self._registries = registries
        self._log = log
        self._position_file = position_file
        self._position = read_position(position_file)
        self._uncleared = set(ids_after(log.path, self._position))
        self._failing: set[str] = set()
        self._not_empty = set(registries)
        """Regions whose outboxes may hold records that are in the log already."""
        self.copied = 0
        self._waiting: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """Number of rows that the last passes left, at most one batch for each region."""
        return sum(self._waiting.values())

    @property
    def failing(self) -> int:
        """Number of regions that the last pass failed to copy."""
        return len(self._failing)

    def copy(self, regions: Sequence[str]) -> bool:
        """Copy the outboxes of these regions, each until it is empty or fails; returns whether nothing is left."""
        for region in regions:
            if registry := self._registries.get(region):
                self._waiting[region] = self._copy_region(region, registry)
                self._not_empty.discard(region)
        self._not_empty |= self._failing
        if not self._not_empty:
            self._uncleared.clear()
            with contextlib.suppress(OSError):  # on a full disk, an older position is good enough
                self._note_position()
        return not self._failing.intersection(regions)

    def _copy_region(self, region: str, registry: Registry) -> int:
        """Returns the number of rows left, at most one batch. Logs the first failure of a region."""
        try:
            while rows := registry.outbox.oldest(BATCH):
                self._copy(registry, rows)
        except (KMSError, OSError) as error:
            if region not in self._failing:
                _log.error("cannot copy audit records of %s, which stay in its outbox: %s", region, error)
            self._failing.add(region)
            return len(rows)
        self._failing.discard(region)
        return 0

    def _copy(self, registry: Registry, rows: Sequence[OutboxRow]) -> None:
        for row in rows:
            if row.event_id not in self._uncleared:
                self._log.write(row.record.rstrip(b"\n") + b"\n")
                self._uncleared.add(row.event_id)
                self.copied += 1
        self._log.sync()
        fault_point("outbox.copied")
        with registry.writing() as transaction:
            transaction.outbox.remove([row.event_id for row in rows])
        fault_point("outbox.cleared")

    def _note_position(self) -> None:
        facts = self._log.path.stat()
        here = Position(facts.st_ino, facts.st_size)
        if here.inode == self._position.inode and here.offset - self._position.offset < POSITION_STEP:
            return
        fresh = self._position_file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(here))
        fresh.replace(self._position_file)
        self._position = here


def ids_after(log: Path, position: Position) -> Iterator[str]:
    """Yields the event ids after a position in the log and the files it was rotated to; all ids if it is unknown."""
    rotated = (path for path in log.parent.glob(f"{log.name}?*") if path.suffix != ".gz")
    files = [*sorted(rotated, key=lambda path: path.stat().st_mtime_ns), log]
    known = [place for place, path in enumerate(files) if path.stat().st_ino == position.inode]
    for path in files[known[0] if known else 0 :]:
        yield from _ids(path, position.offset if path.stat().st_ino == position.inode else 0)


def _ids(path: Path, offset: int) -> Iterator[str]:
    decode = msgspec.json.Decoder(_Line).decode
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            try:
                yield decode(line).eventID
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue


def read_position(file: Path) -> Position:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Position)
    except (OSError, msgspec.DecodeError):
        return Position(0, 0)
