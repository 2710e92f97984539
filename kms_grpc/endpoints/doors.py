"""The doors of one worker: ready when all of them listen, drained together, with one pool of threads behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from kms_grpc.config import Settings
from kms_grpc.endpoints.aws_server import AwsServer
from kms_grpc.endpoints.grpc_server import GrpcServer
from kms_grpc.endpoints.long_way import LongWay
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation


class Door(Protocol):
    async def start(self) -> None: ...

    async def drain(self, seconds: float) -> None: ...


class Doors:
    """See processes.worker.Server. Made inside a running event loop."""

    def __init__(self, executor: Executor, table: Iterable[Operation], settings: Settings, worker: int) -> None:
        self._long_way = LongWay(executor, settings.limits)
        operations = tuple(table)
        self._doors: list[Door] = []
        if settings.aws_listen is not None:
            aws = AwsServer(executor, self._long_way, operations, settings, settings.aws_listen, worker)
            self._doors.append(aws)
        self._doors.append(GrpcServer(executor, self._long_way, operations, settings, worker, _echo(settings, worker)))

    async def start(self) -> None:
        """The gRPC door last, since its health says SERVING."""
        for door in self._doors:
            await door.start()

    async def drain(self, seconds: float) -> None:
        """All at once; then the threads behind them."""
        await asyncio.gather(*(door.drain(seconds) for door in self._doors))
        self._long_way.close()


def _echo(settings: Settings, worker: int) -> Sequence[Any]:
    if not settings.bench:
        return ()
    from kms_grpc.endpoints.echo import echo_handlers

    return echo_handlers(str(worker))
