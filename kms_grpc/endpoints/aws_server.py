"""The AWS door: AWS's JSON 1.1 protocol over HTTP. AWS's own clients use it when given its endpoint URL.

A request is `POST /` with `X-Amz-Target: TrentService.<Operation>`, signed by Signature Version 4. The region comes
from the signature's scope and the account from its access key, so one URL serves all regions. The header
`amz-sdk-invocation-id`, which SDKs repeat in every attempt of a call, is the request id.

Responses carry `x-amzn-RequestId` (also in the audit record) and `kms-worker`. `GET /` and `GET /ping` answer `healthy`
to load balancers, without a signature. uvicorn speaks HTTP on the worker's event loop; the worker handles signals and
logging itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from kms_grpc.audit.record import new_id
from kms_grpc.authentication.credentials import REQUEST_ID, Credentials, SignedRequest
from kms_grpc.authentication.signature_v4 import called_region
from kms_grpc.config import Limits, Settings
from kms_grpc.endpoints.aws_json import AwsJson
from kms_grpc.endpoints.aws_operations import not_built, unbuilt_target
from kms_grpc.endpoints.blocking_pool import BlockingPool
from kms_grpc.endpoints.http_answers import HttpAnswer
from kms_grpc.endpoints.http_requests import RequestParser
from kms_grpc.endpoints.tls import ServerTls
from kms_grpc.errors import KMSError, KMSInternalException, RequestEntityTooLargeException, UnknownOperationException
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation, Unbuilt

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = dict[bytes, bytes]

SERVICE: Final = "kms_grpc.v1.KeyManagementService"
TARGET: Final = b"TrentService."
CONTENT_TYPE: Final = b"application/x-amz-json-1.1"
HEALTH_PATHS: Final = (b"/", b"/ping")
HEALTHY: Final = b"healthy"
INLINE_BYTES: Final = 16 * 1024
"""Larger bodies are hashed and parsed in a thread instead of on the event loop."""
IDLE_SECONDS: Final = 75
"""How long an idle connection stays open: longer than clients keep connections in their pools."""
WIRE: Final = AwsJson()
_log = logging.getLogger(__name__)
_INVOCATION: Final = re.compile(REQUEST_ID.pattern.encode())


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
        around: Callable[[Any], Any] = lambda door: door,
    ) -> None:
        """`around` wraps the ASGI application."""
        self._address = address
        door = AsgiApplication(executor, blocking_pool, table, settings.limits, str(worker).encode())
        config = uvicorn.Config(
            around(door),
            http=_Http, ws="none", lifespan="off", loop="none", interface="asgi3", log_config=None,
            access_log=False, proxy_headers=False, server_header=False, timeout_keep_alive=IDLE_SECONDS,
        )  # fmt: skip
        config.load()
        if tls is not None and not address.startswith("unix:"):
            config.ssl = tls.context()
        self._server = _Embedded(config)
        self._serving: asyncio.Task[None]

    async def start(self) -> None:
        """Listen. Raises OSError if the address is not available."""
        listening = _listening_socket(self._address)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        while not (self._server.started or self._serving.done()):
            await asyncio.sleep(0.005)
        if self._serving.done():
            self._serving.result()

    async def drain(self, seconds: float) -> None:
        """Accept no new connections and calls; wait up to `seconds` for the running calls."""
        self._server.config.timeout_graceful_shutdown = max(1, int(seconds))
        self._server.should_exit = True
        await self._serving


class _Http(HttpToolsProtocol):
    """Ignores requests to upgrade, spells header names as AWS does, and adds a request id to the response to bytes that
    are not HTTP."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = RequestParser(self)  # type: ignore[assignment]  # has what uvicorn calls

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, HttpAnswer(cycle, app))

    def send_400_response(self, msg: str) -> None:
        body = msg.encode("ascii")
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"Date: {formatdate(usegmt=True)}\r\n"
            f"x-amzn-RequestId: {new_id()}\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()


class _Embedded(uvicorn.Server):
    """Leaves signal handling to the worker."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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


class AsgiApplication:
    """The AWS door as an ASGI application."""

    def __init__(
        self, executor: Executor, blocking_pool: BlockingPool, table: Iterable[Operation], limits: Limits, worker: bytes
    ) -> None:
        self._executor = executor
        self._blocking_pool = blocking_pool
        self._largest = limits.http_body_bytes
        self._operations = {
            TARGET + operation.name.encode(): operation for operation in table if operation.service == SERVICE
        }
        self._headers = [(b"kms-worker", worker)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in ("GET", "HEAD") and scope["raw_path"] in HEALTH_PATHS:
            await self._send(send, 200, HEALTHY, new_id().encode(), b"text/plain")
            return
        headers = _joined(scope["headers"])
        sent_id = headers.get(b"amz-sdk-invocation-id", b"")
        repeatable = _INVOCATION.fullmatch(sent_id) is not None
        request_id = sent_id.decode() if repeatable else new_id()
        try:
            operation = self._operation(scope, headers)
            body = await _body(receive, headers, self._largest)
            if body is None:
                return
            credentials = _credentials(scope, headers, body, request_id, repeatable)
            if isinstance(operation, Unbuilt):
                raise self._executor.refuse(operation, credentials, not_built(operation))
            status, answer = 200, await self._execute(operation, credentials, body, scope["client"])
        except KMSError as error:
            status, answer = error.http_status, _refusal(error)
        except Exception:
            _log.exception("the AWS door failed to handle a call", extra={"request_id": request_id})
            failed = KMSInternalException(f"The request failed because of an internal error; request id {request_id}.")
            status, answer = failed.http_status, _refusal(failed)
        await self._send(send, status, answer, request_id.encode())

    def _operation(self, scope: Scope, headers: Headers) -> Operation | Unbuilt:
        if scope["method"] != "POST" or scope["raw_path"] not in (b"/", b""):
            raise UnknownOperationException("Operations of AWS KMS are called by POST /.")
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != CONTENT_TYPE:
            raise UnknownOperationException(f"The Content-Type must be {CONTENT_TYPE.decode()}.")
        target = headers.get(b"x-amz-target", b"")
        return self._operations.get(target) or unbuilt_target(target)

    async def _execute(self, operation: Operation, credentials: Credentials, body: bytes, connection: Any) -> bytes:
        if operation.warm and len(body) <= INLINE_BYTES:
            answer = self._executor.warm(operation, credentials, body, WIRE)
            if answer is not None:
                return answer
        return await self._blocking_pool.execute(operation, credentials, body, WIRE, connection=connection)

    async def _send(
        self, send: Send, status: int, answer: bytes, request_id: bytes, content_type: bytes = CONTENT_TYPE
    ) -> None:
        headers = [
            (b"x-amzn-RequestId", request_id),
            (b"Content-Type", content_type),
            (b"Content-Length", str(len(answer)).encode()),
            *self._headers,
        ]
        if status == RequestEntityTooLargeException.http_status:
            headers.append((b"Connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def _joined(pairs: Iterable[tuple[bytes, bytes]]) -> Headers:
    headers: Headers = {}
    for name, value in pairs:
        headers[name] = headers[name] + b"," + value.strip() if name in headers else value.strip()
    return headers


async def _body(receive: Receive, headers: Headers, largest: int) -> bytes | None:
    """Returns the whole body, or None if the client has disconnected.

    Raises RequestEntityTooLargeException before more than `largest` bytes are held.
    """
    stated = headers.get(b"content-length", b"0")
    parts: list[bytes] = []
    size = int(stated) if stated.isdigit() else 0
    held = 0
    while max(size, held) <= largest:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        parts.append(event["body"])
        held += len(event["body"])
        if not event.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise RequestEntityTooLargeException(f"The body of a request may have at most {largest} bytes.")


def _credentials(scope: Scope, headers: Headers, body: bytes, request_id: str, repeatable: bool) -> Credentials:
    signed = SignedRequest(scope["method"].encode(), scope["raw_path"], scope["query_string"], headers, body)
    client = scope["client"]
    agent = headers.get(b"user-agent", b"").decode("latin-1")
    return Credentials(
        None, called_region(signed), request_id, repeatable, client[0] if client else "unix:", agent, None, signed
    )


def _refusal(error: KMSError) -> bytes:
    """Returns the JSON body of an error. `message` is absent for errors that AWS sends without a text."""
    return msgspec.json.encode({"__type": error.code} | ({"message": error.text} if error.text else {}))


for _noisy in ("uvicorn.error", "uvicorn.access"):
    logging.getLogger(_noisy).setLevel(logging.ERROR)
