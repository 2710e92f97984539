"""The gRPC door. It serves each operation under the path of its method and passes raw bytes to the executor.

Calls that a Permit covers are answered on the event loop. Calls that may block run in a thread pool (blocking_pool.py).
Calls with large messages wait for their turn before the message is read (bulk.py). The health service bypasses all
queues.

Request metadata: `authorization: Bearer TOKEN`, `kms-region`, `kms-request-id`. Trailing metadata: `kms-worker`,
`kms-region`, `kms-request-id`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from kms_grpc.audit.record import new_id
from kms_grpc.authentication.credentials import REQUEST_ID_LENGTH, Credentials
from kms_grpc.config import Limits, Settings
from kms_grpc.endpoints.blocking_pool import BlockingPool
from kms_grpc.endpoints.bulk import Bulk, is_bulk
from kms_grpc.endpoints.call_limit import ARRIVAL_SECONDS, TOO_MANY_CALLS, CallLimit, MethodHandlers, reading_in_time
from kms_grpc.endpoints.rich_errors import Refusal, refusal
from kms_grpc.endpoints.streams import Streams
from kms_grpc.endpoints.tls import ServerTls
from kms_grpc.errors import KMSError, ThrottlingException
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation

Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[[bytes, Context], Awaitable[bytes]]

BEARER = "bearer "
REGION_LENGTH = 64
ACCEPTED_PING_INTERVAL_MS = 10_000
CONNECTION_AGE_MS = 30 * 60 * 1000
CONNECTION_GRACE_MS = 24 * 60 * 60 * 1000
"""How long the streams of an aged connection may continue. New calls already use a new connection."""
LINGER_SECONDS = 1.0
PENDING_CALLS = 1 << 20


def options(limits: Limits) -> list[tuple[str, int]]:
    """Returns the channel arguments of the server.

    The ping interval admits Go clients, which ping every 10 s; gRPC's default would close their connections. The BDP
    probe is off because the windows it enlarges cost 40 MB for each stream whose reader stalls (4 MB without, on
    loopback, at the same throughput), and because they would receive most of a large message before its turn.
    """
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", limits.message_bytes),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", ACCEPTED_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
        ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_MS),
        ("grpc.max_concurrent_streams", limits.calls_per_connection),
        # Otherwise gRPC may reset a new stream of a client that is at its limit of concurrent streams: the client knows
        # that an earlier stream has ended before the server has released it.
        ("grpc.http.overload_protection", 0),
        # Beyond these limits gRPC itself answers CANCELLED. They are high, so that call_limit.py rejects calls instead.
        ("grpc.server.max_pending_requests", PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS),
    ]


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
        self._limits = settings.limits
        self._extra = tuple(extra)
        self._tls = tls
        self._worker = ("kms-worker", str(worker))
        self.blocking_pool = blocking_pool
        self._bulk = Bulk(executor, self._limits, blocking_pool)
        self._streams = Streams(executor, self._limits, blocking_pool, self._refusal, self._trailers)
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server
        self.calls: CallLimit
        self.port = 0

    async def start(self) -> None:
        """Listen, then report SERVING. Raises OSError if the address is not available."""
        self._server = grpc.aio.server(options=options(self._limits))
        methods = {operation.path: self._handlers(operation) for operation in self._table}
        self.calls = CallLimit(methods, self._limits.calls)
        self._server.add_generic_rpc_handlers((self.calls, *self._extra))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        services = sorted({operation.service for operation in self._table})
        if self._settings.reflection:
            reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
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
        """Report NOT_SERVING, accept no new calls, and wait up to `seconds` for the running ones.

        Streams of the health and reflection services do not end by themselves; they are closed LINGER_SECONDS after the
        last call.
        """
        await self._health.enter_graceful_shutdown()
        stopped = asyncio.ensure_future(self._server.stop(seconds))
        while (self.blocking_pool.pending or self._bulk.queue.pending or self._streams.running) and not stopped.done():
            await asyncio.sleep(0.02)
        await self._server.stop(min(seconds, LINGER_SECONDS))
        await stopped

    def _bind(self, listen: str) -> int:
        try:
            if self._tls is not None and not listen.startswith("unix:"):
                return self._server.add_secure_port(listen, self._tls.credentials)
            return self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {listen}: {error}") from None

    def _handlers(self, operation: Operation) -> MethodHandlers:
        def reject(context: Context, error: KMSError) -> None:
            credentials = read_credentials(context)
            self._end_refused(context, credentials, self._executor.refuse(operation, credentials, error))

        async def full(_: Any, context: Context) -> None:
            reject(context, ThrottlingException(TOO_MANY_CALLS))

        stream: Any = grpc.stream_stream_rpc_method_handler
        if operation.streams:
            usual = self._streams.method(operation, _with_deadline)
            timed = self._streams.method(operation, _with_deadline, ARRIVAL_SECONDS)
            return MethodHandlers(stream(usual), stream(timed), stream(full))
        if is_bulk(operation):
            serve = self._bulk.method(operation, _with_deadline, self._end_refused, self._trailers)
            return MethodHandlers(stream(serve), stream(serve), stream(full))
        method = self._method(operation)
        read: Any = grpc.stream_unary_rpc_method_handler(reading_in_time(method, reject))
        return MethodHandlers(grpc.unary_unary_rpc_method_handler(method), read, stream(full))

    def _method(self, operation: Operation) -> Method:
        warm = self._executor.warm if operation.warm else None

        async def serve(raw: bytes, context: Context) -> bytes:
            credentials = read_credentials(context)
            answer = warm(operation, credentials, raw) if warm is not None else None
            if answer is None:
                answer = await self._blocking(operation, credentials, raw, context)
            context.set_trailing_metadata(self._trailers(credentials))
            return answer

        return serve

    async def _blocking(self, operation: Operation, credentials: Credentials, raw: bytes, context: Context) -> bytes:
        timed = credentials._replace(deadline_ns=_deadline(context))
        try:
            return await self.blocking_pool.execute(operation, timed, raw, connection=context.peer())
        except KMSError as error:
            await self._refuse(context, credentials, error)
            raise AssertionError("abort does not return") from None

    def _end_refused(self, context: Context, credentials: Credentials, error: KMSError) -> None:
        """End the call of a handler that then returns, which costs less than context.abort."""
        code, text, trailers = self._refusal(credentials, error)
        context.set_code(code)
        context.set_details(text)
        context.set_trailing_metadata(trailers)

    async def _refuse(self, context: Context, credentials: Credentials, error: KMSError) -> None:
        await context.abort(*self._refusal(credentials, error))

    def _refusal(self, credentials: Credentials, error: KMSError) -> Refusal:
        refused = refusal(error, _printable(credentials.region or self._settings.default_region, REGION_LENGTH))
        return refused._replace(trailers=(*self._trailers(credentials), *refused.trailers))

    def _trailers(self, credentials: Credentials) -> tuple[tuple[str, str], ...]:
        region = credentials.region or self._settings.default_region
        return (
            self._worker,
            ("kms-region", _printable(region, REGION_LENGTH)),
            ("kms-request-id", _printable(credentials.request_id, REQUEST_ID_LENGTH)),
        )


def read_credentials(context: Context, deadline_ns: int | None = None) -> Credentials:
    """Returns the credentials in the metadata, unverified, with a new request id if none was sent."""
    token: str | None = None
    region: str | None = None
    sent_id: str | None = None
    user_agent = ""
    metadata: Any = context.invocation_metadata()
    for name, value in metadata:
        if name == "authorization":
            token = value[len(BEARER) :] if value[: len(BEARER)].lower() == BEARER else None
        elif name == "kms-region":
            region = value
        elif name == "kms-request-id":
            sent_id = value
        elif name == "user-agent":
            user_agent = value
    peer = _address(context.peer())
    return Credentials(token, region, sent_id or new_id(), bool(sent_id), peer, user_agent, deadline_ns)


def _with_deadline(context: Context) -> Credentials:
    return read_credentials(context, _deadline(context))


def _deadline(context: Context) -> int | None:
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic_ns() + int(remaining * 1e9)


@lru_cache(1024)
def _address(peer: str) -> str:
    """Returns the IP address in gRPC's name of a peer, such as `ipv4:127.0.0.1:50162` or `ipv6:%5B::1%5D:50162`.

    Other names, such as `unix:`, are returned unchanged.
    """
    kind, _, rest = peer.partition(":")
    return unquote(rest.rpartition(":")[0]).strip("[]") if kind in ("ipv4", "ipv6") else peer


def _printable(text: str, limit: int) -> str:
    """Returns a text that metadata may carry (printable ASCII, see gRPC over HTTP/2, Custom-Metadata), else ""."""
    return text if len(text) <= limit and text.isascii() and text.isprintable() else ""


def _is_wanted(record: logging.LogRecord) -> bool:
    """Drop gRPC's reports, with tracebacks, of metadata that is not UTF-8: any client could fill the log with them."""
    return not str(record.msg).startswith("Invalid encoding on")


logging.getLogger("grpc._cython.cygrpc").addFilter(_is_wanted)
