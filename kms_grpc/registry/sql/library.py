"""The SQLite library that the registry uses.

SQLite from 3.7.0 on, before 3.51.3 (except 3.50.7 and 3.44.6), can lose committed pages when one connection copies the
write-ahead log into the file while the commit of another starts the log anew (https://www.sqlite.org/wal.html, "The
WAL-Reset Bug"). Many processes share a shard here. So the registry takes the library in the wheel of pysqlite3 where
there is one, and Python's own elsewhere. Nothing else of the program opens a shard: two libraries in one process would
drop each other's locks.
"""

from __future__ import annotations

import sqlite3 as _own
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import sqlite3
else:
    try:
        from pysqlite3 import dbapi2 as sqlite3
    except ImportError:
        sqlite3 = _own

__all__ = ["MODULE", "loses_commits", "sqlite3", "sqlite_advice", "sqlite_version"]

MODULE: Final[Any] = sqlite3
"""The module as SQLAlchemy takes it."""
_MENDED: Final = (3, 51, 3)
_MENDED_BEFORE: Final[dict[tuple[int, ...], tuple[int, ...]]] = {(3, 50): (3, 50, 7), (3, 44): (3, 44, 6)}
"""Releases of older lines that have the correction as well."""


def sqlite_version() -> str:
    """Returns the version of the library in use."""
    return str(MODULE.sqlite_version)


def loses_commits(version: str) -> bool:
    """Returns whether that version of SQLite has the WAL-reset bug."""
    parts = tuple(map(int, version.split(".")))
    return parts < _MENDED_BEFORE.get(parts[:2], _MENDED)


def sqlite_advice(version: str | None = None) -> str | None:
    """Returns what to do about a library that can lose commits; None if this one cannot."""
    version = version or sqlite_version()
    if not loses_commits(version):
        return None
    return (
        f"SQLite {version} can lose committed writes when the write-ahead log is started anew: install pysqlite3 "
        "(pip install pysqlite3), or an SQLite of 3.51.3 or newer"
    )
