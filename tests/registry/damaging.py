"""Changes rows on disk, one column at a time."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from kms_grpc.registry.base import Registry
from kms_grpc.registry.sql.library import sqlite3
from kms_grpc.registry.sql.registry import SqlRegistry

FLIPS = ("first", "last", "type")
"""The byte to change; `type` stores the same bytes as a value of another type."""
ROW_NUMBERS = ("shard", "latest_time")
"""Tables whose column `id` is SQLite's row number, which takes no value of another type."""


def cases(table: Any) -> list[tuple[str, str]]:
    """Returns (column, flip) for all columns of a table."""
    every = [(column.name, flip) for column in table.c for flip in FLIPS]
    return [case for case in every if not (table.name in ROW_NUMBERS and case == ("id", "type"))]


def changed(value: Any, flip: str) -> Any:
    """Returns another value of a column."""
    if value is None:
        return b"\1" if flip == "type" else 1
    if isinstance(value, int):
        return {"first": value + 1, "last": value - 1, "type": f"{value}x"}[flip]
    if isinstance(value, str):
        if not value:
            return b"\xff" if flip == "type" else "a"
        other = "b" if value[0 if flip == "first" else -1] == "a" else "a"
        return {"first": other + value[1:], "last": value[:-1] + other, "type": value.encode()}[flip]
    return {"first": bytes([value[0] ^ 1]) + value[1:], "last": value[:-1] + bytes([value[-1] ^ 128]), "type": None}[
        flip
    ]


def damage(path: Path, table: str, which: str, name: Any, column: str, flip: str) -> None:
    """Changes one column of the row whose column `which` is `name`."""
    with closing(sqlite3.connect(path)) as connection:
        (value,) = connection.execute(f"SELECT {column} FROM {table} WHERE {which} = ?", [name]).fetchone()
        other = changed(value, flip)
        if isinstance(value, bytes) and other is None:
            expression, parameters = f"CAST({column} AS TEXT)", []
        else:
            expression, parameters = "?", [other]
        done = connection.execute(f"UPDATE {table} SET {column} = {expression} WHERE {which} = ?", [*parameters, name])
        connection.commit()
        assert done.rowcount == 1


def damaged_rows(registry: Registry) -> list[str]:
    """Returns the names of all rows whose MAC fails and of counts that are wrong, as `kms-grpc check` finds them."""
    assert isinstance(registry, SqlRegistry)
    return [*registry.findings().damaged, *registry.wrong_counts()]
