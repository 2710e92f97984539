"""Hidden commands for the processes that `kms-grpc serve` starts. Each reads its settings from standard input."""

from __future__ import annotations

import click


@click.command(hidden=True)
def worker() -> int:
    """Serve gRPC and AWS's JSON protocol. `kms-grpc serve` runs one per core."""
    from kms_grpc import app

    return app.run_worker()


@click.command(hidden=True)
def keeper() -> int:
    """Delete, expire and rotate keys when they are due. `kms-grpc serve` runs one."""
    from kms_grpc import app

    return app.run_keeper()


@click.command(hidden=True)
def prepare() -> int:
    """Create and check the shards. `kms-grpc serve` runs it before it starts the other processes."""
    from kms_grpc import app

    return app.run_prepare()
