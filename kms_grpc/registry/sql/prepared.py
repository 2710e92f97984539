"""Runs statements by the database's driver, without SQLAlchemy's context for each execution.

That context takes four fifths of a short statement's CPU time, and a write has ten statements. A statement is compiled
once for each set of parameters. One that is not fixed then (an IN list), or whose values need a conversion, is run by
SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

from sqlalchemy import Connection, Executable
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.compiler import SQLCompiler

_STATEMENTS: Final = 1024
"""More than the statements of all shards, which share them."""


class Result(Protocol):
    """The common part of DBAPI's cursors and SQLAlchemy's results."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchmany(self, size: int, /) -> Sequence[Any]: ...

    def fetchall(self) -> Sequence[Any]: ...

    def close(self) -> None: ...


class _Prepared(NamedTuple):
    text: str
    order: tuple[str, ...]
    """Names of the parameters, in the order of their places."""
    fixed: Mapping[str, Any]
    """Values that the statement itself has."""

    def in_order(self, values: Mapping[str, Any]) -> list[Any]:
        return [values[name] if name in values else self.fixed[name] for name in self.order]


def run(
    connection: Connection, statement: Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> Result:
    """Runs a statement once, or once for each of several sets of values. The result must be fetched completely, or
    closed, before the connection is used again. Raises KeyError if a value is missing, SQLAlchemy's IntegrityError, and
    other errors as the driver or SQLAlchemy does."""
    names = values if isinstance(values, Mapping) else values[0]
    prepared = _find(statement, connection.dialect, tuple(names))
    if prepared is None:
        return connection.execute(statement, values)
    cursor = connection.connection.cursor()
    try:
        if isinstance(values, Mapping):
            cursor.execute(prepared.text, prepared.in_order(values))
        else:
            cursor.executemany(prepared.text, [prepared.in_order(each) for each in values])
    except connection.dialect.loaded_dbapi.IntegrityError as error:
        raise IntegrityError(prepared.text, None, error) from error
    return cast("Result", cursor)


_UNKNOWN: Final = object()
_found: dict[tuple[Executable, type[Dialect], tuple[str, ...]], _Prepared | None] = {}


def _find(statement: Executable, dialect: Dialect, names: tuple[str, ...]) -> _Prepared | None:
    """Prepares each statement once for all shards: each has a dialect object of its own, but of the same class."""
    key = (statement, type(dialect), names)
    found = _found.get(key, _UNKNOWN)
    if found is _UNKNOWN:
        if len(_found) >= _STATEMENTS:
            _found.clear()
        found = _found[key] = _prepare(statement, dialect, names)
    return cast("_Prepared | None", found)


def _prepare(statement: Executable, dialect: Dialect, names: tuple[str, ...]) -> _Prepared | None:
    """Returns the compiled statement, or None if SQLAlchemy has to run it."""
    compiled = cast("SQLCompiler", statement.compile(dialect=dialect, column_keys=[*names]))  # type: ignore[attr-defined]
    text, order = str(compiled), compiled.positiontup
    if order is None or "POSTCOMPILE" in text or compiled._bind_processors or _converts(compiled, dialect):
        return None
    fixed = {name: each.effective_value for each, name in compiled.bind_names.items() if not each.required}
    return _Prepared(text, tuple(order), fixed)


def _converts(compiled: SQLCompiler, dialect: Dialect) -> bool:
    """Returns whether any column of the result needs a conversion."""
    types = [column[3] for column in compiled._result_columns]
    return any(each.dialect_impl(dialect).result_processor(dialect, None) is not None for each in types)
