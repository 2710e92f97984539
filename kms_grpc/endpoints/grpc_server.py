"""The gRPC door. It serves each operation under the path of its method and passes raw bytes to the executor.

The caller is judged by the call's headers, before its message is read, queued or counted (call_limit.py). Calls with a
Permit, which keeps an earlier admission (operations/admission/permits.py), are answered on the event loop. Calls that
may block run in a thread pool (blocking_pool.py). Calls with large messages wait for their turn before the message is
read (bulk.py). The health service bypasses all queues.

Request metadata: `authorization: Bearer TOKEN`, `kms-region`, `kms-request-id`. Trailing metadata: `kms-worker`,
`kms-region`, `kms-request-id`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.config import Settings
from kms_grpc.endpoints import call_limit, grpc_metadata
from kms_grpc.endpoints.blocking_pool import BlockingPool
from kms_grpc.endpoints.bulk import Bulk, is_bulk
from kms_grpc.endpoints.call_limit import CallLimit, MethodHandlers
from kms_grpc.endpoints.grpc_answers import GrpcAnswers
from kms_grpc.endpoints.grpc_options import options
from kms_grpc.endpoints.reflection import Reflection
from kms_grpc.endpoints.single_calls import SingleCalls
from kms_grpc.endpoints.stopping import STOPPING
from kms_grpc.endpoints.streams import Streams
from kms_grpc.endpoints.tls import ServerTls
from kms_grpc.endpoints.unserved import UnservedMethods
from kms_grpc.errors import DependencyTimeoutException, KMSError, ThrottlingException
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.judging import error_of
from kms_grpc.operations.operation import Operation, Unserved

Context = grpc.aio.ServicerContext[Any, Any]

LINGER_SECONDS = 1.0
STATUS_SECONDS = 0.5
"""Time before the end of a drain at which the calls that still run are ended, so that their answers arrive."""


class GrpcServer:
    """Listens for gRPC in one worker. `extra` are additional handlers (the bench's echo).

    Create it inside a running event loop.
    """

    def __init__(
        self,
        executor: Executor,
        blocking_pool: BlockingPool,
        table: Iterable[Operation],
        settings: Settings,
        worker: int,
        extra: Iterable[grpc.GenericRpcHandler] = (),
        tls: ServerTls | None = None,
    ) -> None:
        self._executor = executor
        self._table = tuple(table)
        self._settings = settings
        self._extra = tuple(extra)
        self._tls = tls
        self._answers = GrpcAnswers(worker, settings.default_region)
        self.blocking_pool = blocking_pool
        self._single_calls = SingleCalls(executor, blocking_pool, self._answers)
        self._bulk = Bulk(executor, settings.limits, blocking_pool, self._answers)
        self._streams = Streams(executor, settings.limits, blocking_pool, self._answers)
        self._judge = partial(error_of, executor.service)
        has_certificates = tls is not None and tls.asks_clients and not settings.listen.startswith("unix:")
        grpc_metadata.asks_clients = has_certificates
        self.calls = CallLimit(settings.limits.calls, self._judge_but_certificates if has_certificates else self._judge)
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server
        self.port = 0

    async def start(self) -> None:
        """Listen, then report SERVING. Raises OSError if the address is not available."""
        self._server = grpc.aio.server(options=options(self._settings.limits))
        self.calls.methods = {operation.path: self._handlers(operation) for operation in self._table}
        self._server.add_generic_rpc_handlers((self.calls, *self._extra))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        services = sorted({operation.service for operation in self._table})
        if self._settings.reflection:
            self._server.add_generic_rpc_handlers(Reflection([*services, health.SERVICE_NAME]).handlers())
        self._server.add_generic_rpc_handlers((UnservedMethods(self._refuse_unserved),))
        self.port = self._bind(self._settings.listen)
        await self._server.start()
        self._services = ("", *services)
        await self.report(True)

    async def report(self, able: bool) -> None:
        """Have the health service say SERVING or NOT_SERVING. After `drain` has begun this changes nothing."""
        state = health_pb2.HealthCheckResponse.SERVING if able else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in self._services:
            await self._health.set(service, state)

    async def drain(self, seconds: float) -> None:
        """Report NOT_SERVING, accept no new calls, and wait up to `seconds` for the running ones, which are then
        refused like the new ones: UNAVAILABLE, with a reason.

        Streams of the health and reflection services do not end by themselves; they are closed LINGER_SECONDS after the
        last call.
        """
        end = asyncio.get_running_loop().time() + seconds
        await self._health.enter_graceful_shutdown()
        await self.calls.hold(seconds / 4)
        stopped = asyncio.ensure_future(self._server.stop(end - asyncio.get_running_loop().time()))
        await asyncio.sleep(0)
        self.calls.released.set()
        await self._wait_for_calls(end - min(STATUS_SECONDS, seconds / 4))
        self.calls.end()
        await self._server.stop(min(end - asyncio.get_running_loop().time(), LINGER_SECONDS))
        await stopped

    async def _wait_for_calls(self, end: float) -> None:
        """Return when no call is under way any more, or at `end` in the loop's time."""
        while self.calls.under_way and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)

    def _bind(self, listen: str) -> int:
        try:
            if self._tls is not None and not listen.startswith("unix:"):
                return self._server.add_secure_port(listen, self._tls.credentials)
            return self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {listen}: {error}") from None

    def _judge_but_certificates(self, credentials: Credentials) -> KMSError | None:
        """Returns the error of a call whose caller is unknown. A caller with a certificate alone is judged when the
        message has come: gRPC tells the certificate no sooner."""
        return None if credentials.token is None else self._judge(credentials)

    def _handlers(self, operation: Operation) -> MethodHandlers:
        usual, timed = self._serving(operation)
        full = self._refusing(operation, lambda _: ThrottlingException(call_limit.TOO_MANY_CALLS))
        stopping = self._refusing(operation, lambda _: DependencyTimeoutException(STOPPING), held=True)
        return MethodHandlers(usual, timed, full, self._refusing(operation, self._judge), stopping)

    def _serving(self, operation: Operation) -> tuple[Any, Any]:
        """Returns the handlers that serve an operation, without and with a limit on the time until its message."""
        stream: Any = grpc.stream_stream_rpc_method_handler
        if operation.streams:
            return stream(self._streams.method(operation)), stream(self._streams.method(operation, timed=True))
        if is_bulk(operation):
            handler = stream(self._bulk.method(operation))
            return handler, handler
        unary: Any = grpc.stream_unary_rpc_method_handler
        return unary(self._single_calls.method(operation)), unary(self._single_calls.method(operation, timed=True))

    def _refusing(
        self, operation: Operation, error_of: Callable[[Credentials], KMSError | None], held: bool = False
    ) -> Any:
        """Returns a handler that refuses a call without reading its message; with `held`, once the server stops."""

        async def refuse(_: object, context: Context) -> None:
            if held:
                await self.calls.released.wait()
            credentials = grpc_metadata.credentials_of(context)
            error = error_of(credentials)
            assert error is not None
            self._answers.refuse(context, credentials, self._executor.refuse(operation, credentials, error))

        handler: Any = grpc.stream_stream_rpc_method_handler
        return handler(refuse)

    def _refuse_unserved(self, context: Context, error: KMSError, operation: Unserved) -> None:
        credentials = grpc_metadata.credentials_of(context)
        self._answers.refuse(context, credentials, self._executor.refuse(operation, credentials, error))
