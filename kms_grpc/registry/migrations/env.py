"""Runs the migrations over the connection of migrate.py. alembic imports this module."""

from typing import Any

from alembic import context

from kms_grpc.faults import fault_point
from kms_grpc.registry.sql.tables import metadata


def _before_commit(*_: Any, **__: Any) -> None:
    fault_point("migration.between")


def _run() -> None:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        render_as_batch=True,
        transactional_ddl=True,
        transaction_per_migration=True,
        on_version_apply=_before_commit,
    )
    with context.begin_transaction():
        context.run_migrations()


_run()
