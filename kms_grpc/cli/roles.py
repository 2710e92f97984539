"""The processes behind `kms-grpc serve`, as commands that only it runs: each reads its settings from standard input."""

from __future__ import annotations

from typing import Final

import click


@click.command(hidden=True)
def worker() -> int:
    """Serve the doors: run by `kms-grpc serve`, one per core."""
    from kms_grpc import app

    return app.run_worker()


@click.command(hidden=True)
def keeper() -> int:
    """Do what happens by the clock: run by `kms-grpc serve`."""
    from kms_grpc import app

    return app.run_keeper()


@click.command(hidden=True)
def prepare() -> int:
    """Make and check shards: run by `kms-grpc serve` before anything else."""
    from kms_grpc import app

    return app.run_prepare()


ROLES: Final = (worker, keeper, prepare)
