"""The doors of one worker. They share one pool of threads and, if TLS is configured, one certificate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kms_grpc.config import Settings
from kms_grpc.endpoints.aws_server import AwsServer
from kms_grpc.endpoints.base import Door
from kms_grpc.endpoints.blocking_pool import BlockingPool
from kms_grpc.endpoints.grpc_server import GrpcServer
from kms_grpc.endpoints.tls import ServerTls
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation


@dataclass(frozen=True, slots=True)
class Beside:
    """Handlers that the doors serve besides the operations: none in production; the bench's server has its references
    there."""

    grpc_handlers: Sequence[Any] = ()
    doors: Callable[[Settings], Sequence[Door]] = lambda _: ()
    """Makes further doors."""


NOTHING_BESIDE: Final = Beside()


class Doors:
    """All doors of a worker, started and drained together. Create it inside a running event loop."""

    def __init__(
        self,
        executor: Executor,
        table: Iterable[Operation],
        settings: Settings,
        worker: int,
        beside: Beside = NOTHING_BESIDE,
    ) -> None:
        in_force = executor.service.in_force

        def client_cas() -> str:
            return "" if in_force is None else in_force.current().certificates.pem

        self._blocking_pool = BlockingPool(executor, settings.limits)
        operations = tuple(table)
        self._tls = None if settings.tls is None else ServerTls(settings.tls, client_cas=client_cas)
        self._doors: list[Door] = []
        self._aws: AwsServer | None = None
        if settings.aws_listen is not None:
            self._aws = AwsServer(
                executor,
                self._blocking_pool,
                operations,
                settings,
                settings.aws_listen,
                worker,
                self._tls,
            )
            self._doors.append(self._aws)
        self._doors += beside.doors(settings)
        self._grpc = GrpcServer(
            executor, self._blocking_pool, operations, settings, worker, beside.grpc_handlers, self._tls
        )
        self._doors.append(self._grpc)

    async def start(self) -> None:
        """Start the gRPC door last, because its health service then reports SERVING for all doors."""
        for door in self._doors:
            await door.start()
        self._watching = None if self._tls is None else asyncio.create_task(self._tls.watch())

    async def drain(self, seconds: float) -> None:
        """Drain all doors concurrently, then close the thread pool."""
        await asyncio.gather(*(door.drain(seconds) for door in self._doors))
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        self._blocking_pool.close()

    async def run_at_once(self, work: Callable[[], None]) -> None:
        """Run work on a thread for reads that are not cached, ahead of the queue. Raises what the work raises."""
        await self._blocking_pool.run_at_once(work)

    async def report(self, able: bool) -> None:
        """Have the health service say SERVING or NOT_SERVING. Once the doors drain, it says NOT_SERVING for good."""
        await self._grpc.report(able)

    def gauges(self) -> Mapping[str, int]:
        """Returns values for some of the names in processes.gauges.WORKER."""
        of_tls = {} if self._tls is None else {"tls_seconds_to_expiry": self._tls.seconds_to_expiry}
        return {**of_tls, **({} if self._aws is None else self._aws.gauges())}
