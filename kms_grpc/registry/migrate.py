"""Migrates a shard's file by alembic, each migration as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import NullPool

from kms_grpc.faults import fault_point
from kms_grpc.registry.sql.library import MODULE, sqlite3
from kms_grpc.registry.sql.sqlite import connect


class NewerShard(Exception):
    """The shard has a migration that this version of the program does not know."""


def alembic_config() -> Config:
    """Returns alembic's configuration. The migrations are part of the package."""
    config = Config()
    config.set_main_option("script_location", "kms_grpc.registry:migrations")
    config.set_main_option("path_separator", "os")
    return config


def migrate(path: Path) -> None:
    """Runs the missing migrations, before other processes are started. Raises NewerShard if the file has a newer
    one."""
    engine = create_engine("sqlite://", module=MODULE, creator=lambda: _open(path), poolclass=NullPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    fault_point("migration.before")
    try:
        with engine.connect() as connection:
            upgrade(connection)
    except CommandError as error:
        raise NewerShard(str(error)) from error
    finally:
        engine.dispose()
    fault_point("migration.after")


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations up to `revision` over a connection."""
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _open(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    connection.execute("PRAGMA foreign_keys=OFF")  # a batch migration drops the table that it has just copied
    return connection
