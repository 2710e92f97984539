"""Connections to a shard's SQLite file: in WAL mode, many readers beside one writer.

- `synchronous=FULL`: a commit is on the disk when it returns. `secure_delete`: deleted content is overwritten.
- The write-ahead log is copied into the file by the keeper alone, once a second if something was written, and more
  often once it has 4 MiB (LogCopy). No commit does so; the last process that closes the file does.
- Read connections stay open and are lent out; each statement sees the last commit.
- Writers of one process wait for a lock. Writers of several processes try `BEGIN IMMEDIATE` every half millisecond:
  SQLite's own busy handler sleeps up to 100 ms between two tries, which starves some writers.

A serving process must not open a shard's file by other means: closing it would drop SQLite's locks (fcntl(2)).
Source: https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import quote

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from kms_grpc.errors import DependencyTimeoutException
from kms_grpc.faults import fault_point
from kms_grpc.registry.file_identity import SETTLED_NS, FileIdentity
from kms_grpc.registry.sql.library import MODULE, loses_commits, sqlite3, sqlite_version
from kms_grpc.registry.sql.log_copy import LogCopy
from kms_grpc.registry.sql.wal_reserve import WalReserve

PATIENCE_S = 10.0
"""Seconds that a read or a write waits for others before it is refused."""

_log = logging.getLogger(__name__)
_RETRY_S = 0.0005
_READERS_KEPT = 8
_PRAGMAS = (
    "PRAGMA wal_autocheckpoint=0",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA trusted_schema=OFF",
)


def _lenient(text: bytes) -> str:
    """Decodes text that may be damaged; the row's MAC finds the damage."""
    return text.decode("utf-8", "surrogateescape")


def connect(path: Path, mode: str = "rw") -> sqlite3.Connection:
    """Opens a connection with the settings that all have; `mode` is `rw`, or `rwc` to create the file."""
    uri = f"file:{quote(str(path))}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)
    connection.text_factory = _lenient
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


class SqliteStore:
    """Connections to one shard's file. Thread-safe. All errors of file and disk become DependencyTimeoutException."""

    def __init__(self, path: Path, region: str) -> None:
        self._path = path
        self._log_path = f"{path}-wal"
        self._region = region
        self._engine = create_engine("sqlite://", module=MODULE, creator=lambda: connect(path), poolclass=NullPool)
        self._readers: deque[Connection] = deque()
        self._writer: Connection | None = None
        self._writer_lock = threading.Lock()
        self._reserve = WalReserve(path)
        self._closed = False
        self._identity = FileIdentity(path)
        self._copy = LogCopy(path)

    def is_replaced(self) -> bool:
        """Returns whether the path names another file than when this object was made."""
        return self._identity.has_changed()

    def seconds_to_checkpoint(self) -> float:
        return self._copy.seconds_to_due()

    def checkpoint(self) -> bool:
        """Copies the write-ahead log into the file if that is due; returns whether something was done."""
        if not self._copy.is_due():
            return False
        with ExitStack() as held:
            if loses_commits(sqlite_version()):
                held.enter_context(self.writing(spends_reserve=True))  # no commit starts the log anew meanwhile
            connection = held.enter_context(self.reading())
            before = self._copy.facts()
            row = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
        self._copy.note(before, complete=row[0] == 0 and row[1] == row[2])
        return True

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Lends a connection for statements that read one row or one page. Results must be fetched completely."""
        with self._in_words("read"):
            reader = self._lend()
            try:
                yield reader
            except (SQLAlchemyError, sqlite3.Error):
                reader.close()
                raise
            except BaseException:
                self._take_back(reader)
                raise
            self._take_back(reader)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Lends a connection whose statements all see the same commit."""
        with self.reading() as reader:
            _driver(reader).execute("BEGIN")
            try:
                yield reader
            finally:
                _driver(reader).execute("ROLLBACK")

    @contextmanager
    def writing(self, spends_reserve: bool = False) -> Iterator[Connection]:
        """Lends a connection in a transaction, the only write transaction of the shard. The end of the block commits;
        an exception rolls back. `spends_reserve`: it may commit on a full disk (wal_reserve.py)."""
        deadline = time.monotonic() + PATIENCE_S
        with self._in_words("written"):
            if not self._writer_lock.acquire(timeout=PATIENCE_S):
                raise self._busy()
            try:
                yield from self._transaction(deadline, spends_reserve)
            finally:
                self._writer_lock.release()

    def version(self) -> object:
        """Returns the state of the write-ahead log's file. A commit writes to it, and so sets its time.
        A file that was written lately (SETTLED_NS) has no version yet, and each call returns a new value."""
        try:
            facts = os.stat(self._log_path)  # noqa: PTH116 - asked at each pass; Path.stat takes twice as long
        except OSError:
            return object()
        recent = time.time_ns() - facts.st_mtime_ns < SETTLED_NS
        return object() if recent else (facts.st_ino, facts.st_size, facts.st_mtime_ns)

    def empty_log(self) -> bool:
        """Copies the write-ahead log into the file and truncates it, so that neither holds overwritten content. Returns
        False if other connections prevented that for a second."""
        with self._in_words("written"), closing(connect(self._path)) as connection:
            self._check_open()
            connection.execute("PRAGMA busy_timeout=1000")
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    def close(self) -> None:
        """Closes all connections that are not lent out; the others close when they are returned."""
        self._closed = True
        with self._writer_lock:
            self._drop_writer()
            self._reserve.close()
        while self._readers:
            self._readers.popleft().close()
        self._engine.dispose()

    def keep_reserve(self) -> None:
        """Fills the reserve up, so that it is there before the disk is full. Does nothing while others write."""
        if self._writer_lock.acquire(blocking=False):
            try:
                self._reserve.fill()
            finally:
                self._writer_lock.release()

    def _transaction(self, deadline: float, spends_reserve: bool) -> Iterator[Connection]:
        writer = self._begin(deadline)
        try:
            if not spends_reserve and not self._reserve.has_room():
                raise self._full("written")
            yield writer
            fault_point("commit.before")
            _driver(writer).execute("COMMIT")
            self._check_open(self._identity.has_changed())
        except BaseException:
            self._undo(writer)
            raise
        fault_point("commit.after")

    def _begin(self, deadline: float) -> Connection:
        self._check_open()
        if self._writer is None:
            self._writer = self._engine.connect()
            self._writer.exec_driver_sql("PRAGMA busy_timeout=0")
        while True:
            try:
                _driver(self._writer).execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                if _code(error) != sqlite3.SQLITE_BUSY:
                    self._drop_writer()
                    raise
                if time.monotonic() > deadline:
                    raise self._busy() from None
                time.sleep(_RETRY_S)
            else:
                return self._writer

    def _undo(self, writer: Connection) -> None:
        """Rolls back, unless SQLite has done it itself. Replaces a connection that cannot roll back."""
        try:
            if _driver(writer).in_transaction:
                _driver(writer).execute("ROLLBACK")
        except (SQLAlchemyError, sqlite3.Error):
            self._drop_writer()

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _lend(self) -> Connection:
        self._check_open()
        try:
            return self._readers.pop()
        except IndexError:
            return self._engine.connect()

    def _check_open(self, replaced: bool | None = None) -> None:
        if self._identity.has_changed_lately() if replaced is None else replaced:
            raise DependencyTimeoutException(
                f"The registry of region {self._region} is not served: its file {self._path} was replaced or moved "
                "while the server runs. Stop the server before a restore; restart it now."
            )
        if self._closed:
            raise DependencyTimeoutException(f"The registry of region {self._region} is closed: the server stops.")

    def _take_back(self, reader: Connection) -> None:
        if self._closed or len(self._readers) >= _READERS_KEPT:
            reader.close()
        else:
            self._readers.append(reader)

    @contextmanager
    def _in_words(self, done: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise self._refusal(error, done) from error

    def _busy(self) -> DependencyTimeoutException:
        return DependencyTimeoutException(
            f"The registry of region {self._region} cannot be written: others have been writing for "
            f"{PATIENCE_S:.0f} s. Repeat the call."
        )

    def _refusal(self, error: Exception, done: str) -> DependencyTimeoutException:
        start = f"The registry of region {self._region} cannot be {done}"
        code = _code(error)
        if code == sqlite3.SQLITE_FULL or (code in _MAY_MEAN_FULL and self._disk_is_full()):
            return self._full(done)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return DependencyTimeoutException(f"{start}: it is busy. Repeat the call.")
        _log.error("%s: %s (%s)", start, error, self._path)
        return DependencyTimeoutException(f"{start}: {_REASONS.get(code, _OTHER)}")

    def _full(self, done: str) -> DependencyTimeoutException:
        return DependencyTimeoutException(
            f"The registry of region {self._region} cannot be {done}: no space left on its disk. Make room; nothing "
            "else is needed."
        )

    def _disk_is_full(self) -> bool:
        try:
            return os.statvfs(self._path.parent).f_bavail == 0
        except OSError:
            return False


_MAY_MEAN_FULL = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
_DAMAGED = "its file is damaged. Stop the server and restore the file from a backup."
_OTHER = "its file does not answer. Look at the server's log, then restart the server."
_REASONS = {
    sqlite3.SQLITE_IOERR: "its disk reports an error. Look at the kernel's log, then restart the server.",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened. Look at its path and its permissions.",
    sqlite3.SQLITE_READONLY: "its file or its disk is read-only. Make it writable.",
    sqlite3.SQLITE_PERM: "its file cannot be opened. Look at its permissions.",
}


def _driver(connection: Connection) -> sqlite3.Connection:
    """Returns the driver's connection, whose BEGIN and COMMIT cost a third of SQLAlchemy's."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def _code(error: Exception) -> int:
    """Returns SQLite's primary result code, 0 if there is none."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return (getattr(original, "sqlite_errorcode", 0) or 0) & 0xFF
