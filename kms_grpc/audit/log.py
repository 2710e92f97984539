"""The audit log of one process: lines of JSON in a file, appended.

`append` keeps a line in memory; it is in the file and on the disk within 100 ms. `write` returns when the line and all
lines before it are in the file (write(2)); they are on the disk within 100 ms. A thread writes waiting lines, calls
fdatasync, keeps the reserve (reserve.py), and follows the file's name when logrotate moves it. It sleeps while there
is nothing to do.

A file that was moved is rotation: a new one is begun. A file that was deleted, or whose folder was, is a gap: `write`
raises until the file is made anew, within a second if that is possible. The new file begins with the record
AuditLogGap.

On a full disk the reserve is used up first. Then `write` raises, and `append` holds a limited number of bytes and
counts the lines that it drops. When there is room again, the held lines are written, followed by a record with the
number of lost ones. The file holds whole lines, except that a crash may cut the last line short; the next start ends it
with a newline.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from kms_grpc.audit import reserve
from kms_grpc.audit.record import iso_time, new_id
from kms_grpc.clock import Clock
from kms_grpc.errors import DependencyTimeoutException
from kms_grpc.folder_sync import sync_folder
from kms_grpc.folder_watch import RENAMED, FolderWatch

RESERVE_BYTES: Final = 64 * 1024 * 1024
"""Reserve of all workers together; each holds its share in its own log."""
HELD_BYTES: Final = 8 * 1024 * 1024
TICK_SECONDS: Final = 0.04
CHECK_SECONDS: Final = 1.0
"""How often a log is checked that is written to or cannot be written."""
QUIET_SECONDS: Final = 60.0
"""How often any other log is checked."""
PROBE_BYTES: Final = 4096
WRITE_LINES: Final = 256
"""Lines of one write(2): few enough for a buffer that malloc reuses instead of mapping fresh pages for each."""

_log = logging.getLogger("kms_grpc.audit")


@dataclass(frozen=True, slots=True)
class LogFacts:
    """The state of a log, for metrics."""

    dropped: int
    """Records that were lost since the log was opened."""
    held_bytes: int
    """Bytes of records that wait in memory."""
    reserve_bytes: int
    gaps: int
    """How often the file was deleted since the log was opened."""
    blocked: bool
    """True if nothing can be written, so that calls that must be audited before their answer are refused."""


class FileAuditLog:
    """Implements base.AuditLog. Thread-safe. Raises OSError if the file cannot be opened."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        reserve_bytes: int = 0,
        held_bytes: int = HELD_BYTES,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        self.path = path
        self._clock = clock
        self._reserve_bytes = reserve_bytes
        self._reserve_missing = False
        self._held_limit = held_bytes
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._lines: list[bytes] = []
        """The lines that wait. Any thread appends, the holder of the lock takes from the front."""
        self._waiting = 0
        """Their bytes. Changed by lines like `self._waiting += size`: CPython does not switch threads between the load
        and the store of such a line, as long as it calls nothing in between."""
        self._dropped = 0
        self._dropped_reported = 0
        self._dirty = False
        self._trouble: OSError | None = None
        self._trouble_logged = False
        self._unsupported = False
        self._gaps = 0
        self._descriptor, self._torn = _open(path)
        self._extend_reserve()
        self._moves = FolderWatch(path.parent, RENAMED)
        self._end = threading.Event()
        self._has_work = False
        """The thread was woken, because there is something to write or to sync, or a write failed."""
        self._wake = os.eventfd(0)
        self._thread = threading.Thread(target=self._run, args=(tick_seconds,), name="audit-log", daemon=True)
        self._thread.start()

    # --- used by callers ----------------------------------------------------------------------------------------

    def append(self, line: bytes) -> None:
        """See AuditLog."""
        size = len(line)
        if self._waiting + size > self._held_limit and not self._make_room():
            self._dropped += 1
            return
        self._lines.append(line)
        self._waiting += size
        if not self._has_work:
            self._wake_thread()

    def _wake_thread(self) -> None:
        self._has_work = True
        os.eventfd_write(self._wake, 1)

    def _make_room(self) -> bool:
        """Writes the waiting lines on the caller's thread, since the log's own is behind (perhaps in a slow
        fdatasync)."""
        with self._lock:
            return self._trouble is None and self._put()

    def write(self, line: bytes) -> None:
        """See AuditLog. A line that was refused is never written later."""
        with self._lock:
            if self._trouble is None and self._put(line):
                return
            trouble = self._trouble
        reason = trouble.strerror if trouble else "it is closed"
        raise DependencyTimeoutException(
            f"The audit log {self.path.name} cannot be written: {reason}. Calls that must be audited before their "
            "answer are refused until it can be: make room on the file system of the data directory, then try again."
        )

    def sync(self) -> None:
        """Waits until all that is in the file is on the disk. Raises OSError."""
        with self._sync_lock:
            if self._dirty:
                self._dirty = False
                os.fdatasync(self._descriptor)

    def facts(self) -> LogFacts:
        with self._lock:
            ready = 0 if self._end.is_set() else reserve.left(self._descriptor)
            return LogFacts(self._dropped, self._waiting, ready, self._gaps, self._trouble is not None)

    def close(self) -> None:
        """Writes and syncs waiting lines, frees the reserve, and ends the thread. Idempotent."""
        if self._end.is_set():
            return
        self._end.set()
        self._wake_thread()
        self._thread.join()
        self._check()
        with self._lock:
            self._trouble = OSError(0, "it is closed")
            reserve.release(self._descriptor)
            self._has_work = True
            os.close(self._wake)
        self._moves.close()
        os.close(self._descriptor)

    # --- the file ----------------------------------------------------------------------------------------------

    def _put(self, last: bytes = b"") -> bool:
        """Writes the waiting lines, then `last`; returns whether all of it is in the file. The caller must hold the
        lock."""
        while True:
            lines = self._lines[:WRITE_LINES]
            ends = len(lines) < WRITE_LINES
            data = b"".join([*lines, last]) if ends else b"".join(lines)
            done = self._write_whole_lines(data)
            self._forget(lines[: data.count(b"\n", 0, done)] if done < len(data) else lines)
            if ends or done < len(data):
                return done == len(data)

    def _forget(self, written: list[bytes]) -> None:
        size = sum(map(len, written))
        del self._lines[: len(written)]
        self._waiting -= size

    def _write_whole_lines(self, data: bytes) -> int:
        """Writes `data` up to the end of a line; returns how many bytes. If not all, `_trouble` has the reason."""
        done = 0
        try:
            if _is_deleted(self._descriptor):
                raise FileNotFoundError(errno.ENOENT, "its file was deleted")
            if self._torn:
                os.write(self._descriptor, b"\n")
                self._torn = False
            while done < len(data):
                done += os.write(self._descriptor, data[done:] if done else data)
        except OSError as error:
            self._trouble = error
            done = self._cut_half_line(data, done)
        self._dirty |= done > 0
        if not self._has_work:
            self._wake_thread()
        return done

    def _cut_half_line(self, data: bytes, done: int) -> int:
        whole = data.rfind(b"\n", 0, done) + 1
        if whole < done:
            try:
                os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - (done - whole))
            except OSError:
                self._torn = True
        return whole

    # --- once per tick -----------------------------------------------------------------------------------------

    def _run(self, tick_seconds: float) -> None:
        checked = time.monotonic()
        while not self._end.is_set():
            if self._moves.wait([self._wake], max(0.0, checked + self._check_seconds() - time.monotonic())):
                os.eventfd_read(self._wake)
                self._has_work = False
                self._end.wait(tick_seconds)
            try:
                self._tick()
                if self._moves.take() or time.monotonic() - checked >= CHECK_SECONDS:
                    checked = time.monotonic()
                    self._check()
            except Exception:  # the thread must not end
                _log.exception("the audit log %s", self.path)

    def _check_seconds(self) -> float:
        lost = self._dropped > self._dropped_reported
        watched = self._trouble is not None or lost or self._dirty or self._reserve_missing or self._moves.is_blind
        return CHECK_SECONDS if watched else QUIET_SECONDS

    def _tick(self) -> None:
        if self._lines and self._trouble is None:
            with self._lock:
                self._put()
        if self._dirty:
            self._sync_or_block()
        if not self._reserve_missing:
            self._extend_reserve()

    def _check(self) -> None:
        """Follows a moved file, tries a full disk again, and records lost lines."""
        self._follow_name()
        with self._lock:
            if self._trouble is None or (not _is_deleted(self._descriptor) and self._has_room()):
                self._trouble = None
                self._put()
            if self._trouble is None and self._dropped > self._dropped_reported:
                self._record_lost()
        self._log_trouble()
        self._extend_reserve()
        self._sync_or_block()

    def _has_room(self) -> bool:
        try:
            reserve.extend(self._descriptor, PROBE_BYTES)
        except OSError as error:
            return not reserve.is_full(error)
        return True

    def _follow_name(self) -> None:
        """Opens a new file if the file was moved or deleted."""
        if _same_file(self._descriptor, self.path):
            return
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            fresh, torn = _open(self.path)
        except OSError as error:
            _log.warning("the audit log %s was moved away and cannot be made again: %s", self.path, error.strerror)
            return
        self._sync_or_block()
        with self._lock, self._sync_lock:
            old, self._descriptor, self._torn = self._descriptor, fresh, torn
            if _is_deleted(old):
                self._record_gap(os.fstat(old).st_size)
        with contextlib.suppress(OSError):
            os.fdatasync(old)
            reserve.release(old)
        os.close(old)
        _log.warning("the audit log %s was moved or deleted; a new file is used", self.path)

    def _record_gap(self, lost_bytes: int) -> None:
        """Begins a new file with the record of the gap. The caller must hold the lock."""
        self._gaps += 1
        self._trouble = None
        line = gap_line(self.path.name, lost_bytes, self._clock.wall_ns())
        size = len(line)
        self._lines.insert(0, line)
        self._waiting += size
        self._put()
        _log.error("the audit log %s was deleted with %d bytes of records", self.path, lost_bytes)

    def _sync_or_block(self) -> None:
        try:
            self.sync()
        except OSError as error:
            self._trouble = error

    def _extend_reserve(self) -> None:
        if self._reserve_bytes == 0 or self._unsupported:
            return
        try:
            reserve.extend(self._descriptor, self._reserve_bytes)
            self._reserve_missing = False
        except OSError as error:
            self._unsupported = not reserve.is_full(error)
            if not self._reserve_missing:
                _log.warning(
                    "no reserve of %d bytes for the audit log %s: %s", self._reserve_bytes, self.path, error.strerror
                )
            self._reserve_missing = True

    def _log_trouble(self) -> None:
        if self._trouble is not None and not self._trouble_logged:
            _log.error(
                "the audit log %s cannot be written: %s; calls that need it are refused",
                self.path,
                self._trouble.strerror,
            )
        elif self._trouble is None and self._trouble_logged:
            _log.warning("the audit log %s is written again", self.path)
        self._trouble_logged = self._trouble is not None

    def _record_lost(self) -> None:
        lost = self._dropped - self._dropped_reported
        if self._put(lost_line(lost, self._clock.wall_ns())):
            self._dropped_reported += lost
            _log.error("the audit log %s lost %d records while it could not be written", self.path, lost)


def lost_line(lost: int, time_ns: int) -> bytes:
    """Returns the record that reports `lost` lost records."""
    return _own_line("AuditRecordsLost", {"lost": lost}, time_ns)


def gap_line(name: str, lost_bytes: int, time_ns: int) -> bytes:
    """Returns the record that reports the deletion of a log file which held `lost_bytes` of records."""
    return _own_line("AuditLogGap", {"file": name, "lostBytes": lost_bytes}, time_ns)


def _own_line(name: str, details: dict[str, str | int], time_ns: int) -> bytes:
    record = {
        "eventVersion": "1.11",
        "eventTime": iso_time(time_ns),
        "eventSource": "kms.amazonaws.com",
        "eventName": name,
        "additionalEventData": details,
        "eventID": new_id(),
        "eventType": "AwsServiceEvent",
        "eventCategory": "Management",
    }
    return msgspec.json.encode(record) + b"\n"


def _open(path: Path) -> tuple[int, bool]:
    """Returns (descriptor, whether a crash has cut the last line short)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    sync_folder(path.parent)
    size = os.fstat(descriptor).st_size
    return descriptor, size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _is_deleted(descriptor: int) -> bool:
    return os.fstat(descriptor).st_nlink == 0


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        named = path.stat()
    except OSError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))
