"""The AWS door: AWS's JSON 1.1 protocol over HTTP. AWS's own clients use it when given its endpoint URL.

A request is `POST /` with `X-Amz-Target: TrentService.<Operation>`, signed by Signature Version 4. The region comes
from the signature's scope and the account from its access key, so one URL serves all regions. The header
`amz-sdk-invocation-id`, which SDKs repeat in every attempt of a call, is the request id.

Responses carry `x-amzn-RequestId` (also in the audit record) and `kms-worker`. `GET /` and `GET /ping` answer `healthy`
to load balancers, without a signature. HTTP is served on the worker's event loop (http_server.py).

A call is queued with the others of its connection only once its signature is verified. A signature that needs the disk
or has a body beyond INLINE_BYTES is verified by a dedicated thread, in which peer addresses take turns.
"""

from __future__ import annotations

import logging
import re
import resource
import socket
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from kms_grpc.audit.record import new_id
from kms_grpc.authentication.credentials import REQUEST_ID, Credentials, SignedRequest
from kms_grpc.authentication.signature_v4 import called_region
from kms_grpc.config import Limits, Settings
from kms_grpc.endpoints.aws_json import AwsJson
from kms_grpc.endpoints.aws_operations import NO_TARGET, PREFIX, refusal, unserved_target
from kms_grpc.endpoints.blocking_pool import BlockingPool
from kms_grpc.endpoints.http_answers import JSON_1_1, TEXT, Answers
from kms_grpc.endpoints.http_connection import HttpConnection, Reply, Shared
from kms_grpc.endpoints.http_requests import Request
from kms_grpc.endpoints.http_server import HttpServer
from kms_grpc.endpoints.peers import Peers
from kms_grpc.endpoints.refusals import Refusals
from kms_grpc.endpoints.tls import ServerTls
from kms_grpc.errors import (
    AccessDeniedException,
    KMSError,
    KMSInternalException,
    RequestEntityTooLargeException,
    UnknownOperationException,
)
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.judging import knows
from kms_grpc.operations.operation import KEY_MANAGEMENT, Operation, Unserved

HEALTH_PATHS: Final = (b"/", b"/ping")
HEALTHY: Final = b"healthy"
INLINE_BYTES: Final = 16 * 1024
"""Larger bodies are hashed and parsed in a thread instead of on the event loop."""
WIRE: Final = AwsJson()
_log = logging.getLogger(__name__)
_INVOCATION: Final = re.compile(REQUEST_ID.pattern.encode())
_LOOPBACK: Final = re.compile(rb"(localhost|[a-z0-9.-]+\.localhost|127(\.\d{1,3}){3}|\[::1\])\.?(:\d{1,5})?", re.I)


class AwsServer:
    """Listens for HTTP in one worker. `address` is HOST:PORT or unix:PATH. Create it inside a running event loop."""

    def __init__(
        self,
        executor: Executor,
        blocking_pool: BlockingPool,
        table: Iterable[Operation],
        settings: Settings,
        address: str,
        worker: int,
        tls: ServerTls | None = None,
    ) -> None:
        self._address = address
        is_local = address.startswith("unix:")
        limits = settings.limits
        self._peers = Peers(most_connections(limits), limits.http_connections_per_address)
        self._refusals = Refusals("AWS door")
        door = AwsDoor(executor, blocking_pool, table, limits.http_body_bytes, settings.dev and not is_local)
        answers = Answers(str(worker).encode())
        self._shared = Shared(door.serve, answers, self._peers, self._refusals, limits.http_body_bytes)
        self._tls = None if tls is None or is_local else tls.context()
        self._server: HttpServer | None = None

    async def start(self) -> None:
        """Listen. Raises OSError if the address is not available."""
        self._server = HttpServer(_listening_socket(self._address), self._shared, self._tls)
        self._server.start()

    async def drain(self, seconds: float) -> None:
        """Accept no new connections and calls; wait up to `seconds` for the running calls."""
        if self._server is not None:
            await self._server.drain(seconds)

    def gauges(self) -> Mapping[str, int]:
        """Returns values for some of the names in processes.gauges.WORKER."""
        return {"aws_connections": self._peers.connections, "aws_strangers_refused": self._refusals.count}


def most_connections(limits: Limits) -> int:
    """Returns limits.http_connections, or half of the descriptors that the process may have, with a warning, where that
    is less."""
    half = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
    if half >= limits.http_connections:
        return limits.http_connections
    _log.warning(
        "the AWS door takes %d connections instead of limits.http_connections: raise the hard limit of open files"
        " (ulimit -Hn, LimitNOFILE=)", half,
    )  # fmt: skip
    return half


def _listening_socket(address: str) -> socket.socket:
    """Returns a bound socket, with SO_REUSEPORT because all workers share the port. The umask sets a Unix socket's
    mode."""
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(path))
        return listening
    host, _, port = address.rpartition(":")
    family, kind, protocol, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind(where)
    except OSError as error:
        listening.close()
        raise OSError(f"cannot listen on {address}: {error.strerror}") from None
    return listening


class AwsDoor:
    """Serves the requests of all connections. With `only_loopback` their Host must name loopback: else a web page whose
    name is made to resolve to this machine (DNS rebinding) could call with the public secret of --dev."""

    def __init__(
        self,
        executor: Executor,
        blocking_pool: BlockingPool,
        table: Iterable[Operation],
        largest: int,
        only_loopback: bool,
    ) -> None:
        self._executor = executor
        self._largest = largest
        self._blocking_pool = blocking_pool
        self._only_loopback = only_loopback
        self._operations = {
            f"{PREFIX}{operation.name}".encode(): operation
            for operation in table
            if operation.service == KEY_MANAGEMENT
        }

    def serve(self, request: Request, connection: HttpConnection) -> Reply | Coroutine[Any, Any, Reply]:
        """Returns the reply, or a coroutine that returns it where it takes longer."""
        headers = request.headers
        sent_id = headers.get(b"amz-sdk-invocation-id", b"")
        repeatable = bool(sent_id) and _INVOCATION.fullmatch(sent_id) is not None
        request_id = sent_id.decode() if repeatable else new_id()
        try:
            if self._only_loopback and not _LOOPBACK.fullmatch(headers.get(b"host", b"")):
                raise AccessDeniedException("With --dev, the header Host must name loopback, such as localhost.")
            if request.method in (b"GET", b"HEAD") and request.path in HEALTH_PATHS:
                return 200, HEALTHY, request_id.encode(), TEXT
            operation = self._operation(request)
            credentials = _credentials(request, connection, request_id, repeatable)
            if isinstance(operation, Unserved):
                return self._refuse(operation, credentials, request.body)
            if operation.warm and len(request.body) <= INLINE_BYTES:
                answer = self._executor.warm(operation, credentials, request.body, WIRE)
                if answer is not None:
                    connection.judged()
                    return 200, answer, request_id.encode(), JSON_1_1
        except KMSError as error:
            return _refused(error, request_id)
        except Exception:
            return _failed(request_id)
        return self._serve_later(operation, credentials, request.body, connection)

    async def _serve_later(
        self, operation: Operation, credentials: Credentials, body: bytes, connection: HttpConnection
    ) -> Reply:
        request_id = credentials.request_id
        try:
            await self._judge(operation, credentials, body, connection)
            answer = await self._blocking_pool.execute(operation, credentials, body, WIRE, connection=connection)
        except KMSError as error:
            return _refused(error, request_id)
        except Exception:
            return _failed(request_id)
        return 200, answer, request_id.encode(), JSON_1_1

    def _refuse(self, operation: Unserved, credentials: Credentials, body: bytes) -> Reply | Coroutine[Any, Any, Reply]:
        """Refuses and audits a call of an operation that has no row."""
        if self._is_judged_later(credentials, body):
            return self._refuse_later(operation, credentials)
        error = self._executor.refuse(operation, credentials, refusal(operation, NO_TARGET))
        return _refused(error, credentials.request_id)

    async def _refuse_later(self, operation: Unserved, credentials: Credentials) -> Reply:
        try:
            error = await self._blocking_pool.refuse(operation, credentials, refusal(operation, NO_TARGET))
        except Exception:
            return _failed(credentials.request_id)
        return _refused(error, credentials.request_id)

    def _is_judged_later(self, credentials: Credentials, body: bytes) -> bool:
        """Returns whether verifying the signature takes the disk or too long for the event loop."""
        return len(body) > INLINE_BYTES or not knows(self._executor.service, credentials)

    async def _judge(
        self, operation: Operation, credentials: Credentials, body: bytes, connection: HttpConnection
    ) -> None:
        """Verifies the signature before the call takes a turn. Raises KMSError, audited and counted."""
        if self._is_judged_later(credentials, body):
            await self._blocking_pool.judge(operation, credentials, connection=connection.peer.address)
        connection.judged()

    def _operation(self, request: Request) -> Operation | Unserved:
        if request.method != b"POST" or request.path not in (b"/", b""):
            raise UnknownOperationException("Operations of AWS KMS are called by POST /.")
        stated = request.headers.get(b"content-type", b"")
        if stated != JSON_1_1 and stated.partition(b";")[0].strip().lower() != JSON_1_1:
            raise UnknownOperationException(f"The Content-Type must be {JSON_1_1.decode()}.")
        target = request.headers.get(b"x-amz-target", b"")
        operation = self._operations.get(target) or unserved_target(target)
        if not request.is_whole:
            raise RequestEntityTooLargeException(f"The body of a request may have at most {self._largest} bytes.")
        return operation


def _credentials(request: Request, connection: HttpConnection, request_id: str, repeatable: bool) -> Credentials:
    headers = request.headers
    signed = SignedRequest(request.method, request.path, request.query, headers, request.body)
    agent = headers.get(b"user-agent", b"").decode("latin-1")
    region = called_region(signed)
    return Credentials(
        None, region, request_id, repeatable, connection.host, agent, None, signed, connection.certificate
    )


def _refused(error: KMSError, request_id: str) -> Reply:
    """Returns the reply of an error. `message` is absent for errors that AWS sends without a text."""
    body = msgspec.json.encode({"__type": error.code} | ({"message": error.text} if error.text else {}))
    return error.http_status, body, request_id.encode(), JSON_1_1


def _failed(request_id: str) -> Reply:
    _log.exception("the AWS door failed to handle a call", extra={"request_id": request_id})
    return _refused(
        KMSInternalException(f"The request failed because of an internal error; request id {request_id}."), request_id
    )
