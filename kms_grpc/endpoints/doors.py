"""The doors of one worker: ready when all of them listen, drained together, with one pool of threads behind them, and
one certificate before them where TLS is served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from kms_grpc.config import Settings
from kms_grpc.endpoints.aws_server import AwsServer
from kms_grpc.endpoints.blocking_pool import BlockingPool
from kms_grpc.endpoints.grpc_server import GrpcServer
from kms_grpc.endpoints.tls import ServerTls
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation


class Door(Protocol):
    async def start(self) -> None: ...

    async def drain(self, seconds: float) -> None: ...


class Doors:
    """See processes.worker.Server. Made inside a running event loop."""

    def __init__(self, executor: Executor, table: Iterable[Operation], settings: Settings, worker: int) -> None:
        self._blocking_pool = BlockingPool(executor, settings.limits)
        operations = tuple(table)
        self._tls = None if settings.tls is None else ServerTls(settings.tls)
        self._doors: list[Door] = []
        if settings.aws_listen is not None:
            aws = AwsServer(executor, self._blocking_pool, operations, settings, settings.aws_listen, worker, self._tls)
            self._doors.append(aws)
        extra = _echo(settings, worker)
        self._doors.append(GrpcServer(executor, self._blocking_pool, operations, settings, worker, extra, self._tls))

    async def start(self) -> None:
        """The gRPC door last, since its health says SERVING."""
        for door in self._doors:
            await door.start()
        self._watching = None if self._tls is None else asyncio.create_task(self._tls.watch())

    async def drain(self, seconds: float) -> None:
        """All at once; then the threads behind them."""
        await asyncio.gather(*(door.drain(seconds) for door in self._doors))
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        self._blocking_pool.close()

    def gauges(self) -> Mapping[str, int]:
        """For processes.gauges.WORKER."""
        return {} if self._tls is None else {"tls_seconds_to_expiry": self._tls.seconds_to_expiry}


def _echo(settings: Settings, worker: int) -> Sequence[Any]:
    if not settings.bench:
        return ()
    from kms_grpc.endpoints.echo import echo_handlers

    return echo_handlers(str(worker))
