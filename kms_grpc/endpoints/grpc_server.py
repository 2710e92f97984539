"""The gRPC door: every row of the table under its method's path, raw bytes in, raw bytes out.

It extracts credentials from metadata, hands the call to the executor and encodes what comes back; it has no rules.
Calls that a Permit covers are answered inline on the event loop; whatever may block goes to the pool of threads
(blocking_pool.py), and calls with large messages wait for their turn before they are read (bulk.py). Health has a way
past all queues.

Metadata in: `authorization: Bearer TOKEN`, `kms-region`, `kms-request-id`. Trailing metadata out: `kms-worker`,
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
from kms_grpc.endpoints.call_limit import ARRIVAL_SECONDS, FULL, CallLimit, Ways, reading
from kms_grpc.endpoints.rich_errors import refusal
from kms_grpc.endpoints.streams import Aborted, Streams
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
"""For streams that a connection began before its age: others of its calls have long ended, and new ones go to a new
connection."""
LINGER_SECONDS = 1.0
PENDING_CALLS = 1 << 20


def options(limits: Limits) -> list[tuple[str, int]]:
    """Channel arguments of the server. Clients in Go ping every 10 s; gRPC's default would cut them off. Windows that
    grow with the bandwidth-delay product take 40 MB for each stream whose reader stalls, on the loopback; without them
    it is 4 MB, at the same speed: a message that is being read opens its window by itself. They would also take in most
    of a large message whose turn has not come."""
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
        # Or gRPC resets what a client begins before the server has forgotten a stream that the client knows has ended.
        ("grpc.http.overload_protection", 0),
        # Beyond these gRPC answers CANCELLED by itself; who is turned away, and how, is for the queues to say.
        ("grpc.server.max_pending_requests", PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS),
    ]


class GrpcServer:
    """One worker's listener. `extra` are handlers beside the table's (the bench's echo). Made inside a running event
    loop."""

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
        """Listen and answer SERVING. OSError where the address cannot be had."""
        self._server = grpc.aio.server(options=options(self._limits))
        methods = {operation.path: self._ways(operation) for operation in self._table}
        self.calls = CallLimit(methods, self._limits.calls)
        self._server.add_generic_rpc_handlers((self.calls, *self._extra))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        services = sorted({operation.service for operation in self._table})
        if self._settings.reflection:
            reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        self.port = self._bind(self._settings.listen)
        await self._server.start()
        for service in ("", *services):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, seconds: float) -> None:
        """NOT_SERVING first, then no new calls, then up to `seconds` for those under way. Streams of health and
        reflection would never end by themselves: they get what answers on their way need."""
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
            raise OSError(f"{listen} cannot be listened on: {error}") from None

    def _ways(self, operation: Operation) -> Ways:
        def turn_away(context: Context, error: KMSError) -> None:
            credentials = read_credentials(context)
            self._end_refused(context, credentials, self._executor.refuse(operation, credentials, error))

        async def full(_: Any, context: Context) -> None:
            turn_away(context, ThrottlingException(FULL))

        stream: Any = grpc.stream_stream_rpc_method_handler
        if operation.streams:
            usual = self._streams.method(operation, _with_deadline)
            careful = self._streams.method(operation, _with_deadline, ARRIVAL_SECONDS)
            return Ways(stream(usual), stream(careful), stream(full))
        if is_bulk(operation):
            serve = self._bulk.method(operation, _with_deadline, self._end_refused, self._trailers)
            return Ways(stream(serve), stream(serve), stream(full))
        method = self._method(operation)
        read: Any = grpc.stream_unary_rpc_method_handler(reading(method, turn_away))
        return Ways(grpc.unary_unary_rpc_method_handler(method), read, stream(full))

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
        """For handlers of streams, which return after it: cheaper than what aborts."""
        code, text, trailers = self._refusal(credentials, error)
        context.set_code(code)
        context.set_details(text)
        context.set_trailing_metadata(trailers)

    async def _refuse(self, context: Context, credentials: Credentials, error: KMSError) -> None:
        await context.abort(*self._refusal(credentials, error))

    def _refusal(self, credentials: Credentials, error: KMSError) -> Aborted:
        refused = refusal(error, _echo(credentials.region or self._settings.default_region, REGION_LENGTH))
        return refused.code, refused.text, (*self._trailers(credentials), *refused.trailers)

    def _trailers(self, credentials: Credentials) -> tuple[tuple[str, str], ...]:
        region = credentials.region or self._settings.default_region
        return (
            self._worker,
            ("kms-region", _echo(region, REGION_LENGTH)),
            ("kms-request-id", _echo(credentials.request_id, REQUEST_ID_LENGTH)),
        )


def read_credentials(context: Context, deadline_ns: int | None = None) -> Credentials:
    """What the metadata say, unjudged. A call without a request id gets a fresh one."""
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
    """The IP address of a peer that gRPC calls `ipv4:127.0.0.1:50162` or `ipv6:%5B::1%5D:50162`; else its own words."""
    kind, _, rest = peer.partition(":")
    return unquote(rest.rpartition(":")[0]).strip("[]") if kind in ("ipv4", "ipv6") else peer


def _echo(text: str, limit: int) -> str:
    """Metadata values are printable ASCII (gRPC over HTTP/2, Custom-Metadata); what came in otherwise is not echoed."""
    return text if len(text) <= limit and text.isascii() and text.isprintable() else ""


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """gRPC reports each metadata value that is not UTF-8, with a traceback: anybody could fill the log."""
    return not str(record.msg).startswith("Invalid encoding on")


logging.getLogger("grpc._cython.cygrpc").addFilter(_is_worth_telling)
