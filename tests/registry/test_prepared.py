"""Statements that the driver runs give the same results as SQLAlchemy's own execution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Executable,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from kms_grpc.registry.sql import prepared
from kms_grpc.registry.sql.library import MODULE
from kms_grpc.registry.sql.prepared import _prepare, run
from kms_grpc.registry.sql.tables import Bytes

METADATA = MetaData()
TABLE = Table(
    "things",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("name", String, unique=True),
    Column("content", Bytes),
    Column("flag", Boolean),
    Column("converted", LargeBinary),
)
ADD = insert(TABLE)
NAMES = select(TABLE.c.number, TABLE.c.name, TABLE.c.content).order_by(TABLE.c.number)

PREPARED: list[tuple[str, Executable, dict[str, Any], bool]] = [
    ("a limit that is fixed", NAMES.limit(2), {}, True),
    ("a limit by a parameter", NAMES.limit(bindparam("few")), {"few": 1}, True),
    ("a condition", NAMES.where(TABLE.c.name == bindparam("it")), {"it": "b"}, True),
    ("a value of the statement", NAMES.where(TABLE.c.name == "c"), {}, True),
    ("a value that is absent", NAMES.where(TABLE.c.name.is_not_distinct_from(bindparam("it"))), {"it": None}, True),
    ("a list of values", NAMES.where(TABLE.c.number.in_(bindparam("all", expanding=True))), {"all": [1, 3]}, False),
    ("a converted result", select(TABLE.c.flag).order_by(TABLE.c.number), {}, False),
    ("a converted value", NAMES.where(TABLE.c.converted == bindparam("it", type_=LargeBinary)), {"it": b"1"}, False),
    ("rows that a deletion gives", delete(TABLE).where(TABLE.c.number > 1).returning(TABLE.c.name), {}, True),
]


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", module=MODULE)
    with engine.connect() as made:
        METADATA.create_all(made)
        made.execute(ADD, [{"number": at, "name": name, "content": b"\0"} for at, name in enumerate("abc", 1)])
        made.commit()
        yield made
    engine.dispose()


@pytest.mark.parametrize(("what", "statement", "values", "prepared"), PREPARED, ids=[case[0] for case in PREPARED])
def test_the_result_is_that_of_sqlalchemy(
    connection: Connection, what: str, statement: Executable, values: dict[str, Any], prepared: bool
) -> None:
    assert (_prepare(statement, connection.dialect, tuple(values)) is not None) == prepared
    found = [tuple(row) for row in run(connection, statement, values).fetchall()]
    connection.connection.rollback()  # SQLAlchemy does not know what the driver has begun
    assert found == [tuple(row) for row in connection.execute(statement, values).fetchall()]


def test_columns_that_are_not_given_are_left_out(connection: Connection) -> None:
    run(connection, ADD, {"name": "d"})
    change = update(TABLE).where(TABLE.c.name == bindparam("it"))
    assert run(connection, change, {"content": b"\1", "it": "d"}).rowcount == 1
    assert connection.execute(NAMES).fetchall()[-1] == (4, "d", b"\1")


def test_several_sets_of_values(connection: Connection) -> None:
    run(connection, ADD, [{"number": 7, "name": "g"}, {"number": 8, "name": "h"}])
    assert [row[0] for row in connection.execute(NAMES)] == [1, 2, 3, 7, 8]


def test_a_name_that_is_taken_is_sqlalchemys_error(connection: Connection) -> None:
    with pytest.raises(IntegrityError):
        run(connection, ADD, {"number": 9, "name": "a"})


def test_a_value_that_is_missing_is_an_error(connection: Connection) -> None:
    with pytest.raises(KeyError, match="it"):
        run(connection, NAMES.where(TABLE.c.name == bindparam("it")), {})


def test_a_statement_is_prepared_once_for_all_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shard has an engine of its own. A cache by engine was too small for 34 shards, and compiled all anew."""
    made: list[Executable] = []
    real = prepared._prepare
    monkeypatch.setattr(
        prepared, "_prepare", lambda statement, *more: (made.append(statement), real(statement, *more))[1]
    )
    statements = [NAMES.limit(number + 1) for number in range(10)]
    for _ in range(40):
        engine = create_engine("sqlite://", module=MODULE)
        with engine.connect() as connection:
            METADATA.create_all(connection)
            for statement in statements:
                run(connection, statement, {}).fetchall()
        engine.dispose()
    assert len(made) == len(statements)
