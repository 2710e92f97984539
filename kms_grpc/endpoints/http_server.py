"""The listener of the AWS door: accepts connections within the bounds of peers.py, and ends those that are late.

It accepts by itself, because asyncio's server begins TLS before it tells anybody of a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from typing import Final

from kms_grpc.addresses import network, unmapped
from kms_grpc.endpoints.http_connection import HEAD_SECONDS, HttpConnection, Shared
from kms_grpc.endpoints.peers import LOCAL

BACKLOG: Final = 2048
ACCEPTS_AT_ONCE: Final = 8
"""Connections accepted before the event loop turns to calls again."""
REST_SECONDS: Final = 1.0
"""How long no connection is accepted when there is no descriptor left."""
LOOK_SECONDS: Final = 1.0
"""Time between two searches for connections that are late."""
_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_log = logging.getLogger(__name__)


class HttpServer:
    """Listens on a bound socket. Create it inside a running event loop."""

    def __init__(self, listening: socket.socket, shared: Shared, tls: ssl.SSLContext | None) -> None:
        self._listening, self._shared, self._tls = listening, shared, tls
        self._loop = shared.loop
        self._opening: set[asyncio.Task[None]] = set()
        self._looking: asyncio.TimerHandle | None = None
        self._resting: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._listening.listen(BACKLOG)
        self._listening.setblocking(False)
        self._listen()

    async def drain(self, seconds: float) -> None:
        """Accepts no more, and waits up to `seconds` for calls under way; then ends all connections."""
        if self._resting is not None:
            self._resting.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()
        shared = self._shared
        shared.stopping = True
        end = self._loop.time() + seconds
        for connection in list(shared.connections):
            connection.stop()
        while shared.connections and self._loop.time() < end:
            await asyncio.sleep(0.02)
        for connection in list(shared.connections):
            connection.give_way()
        if self._looking is not None:
            self._looking.cancel()

    def _listen(self) -> None:
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                accepted, where = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                self._rest(error)
                return
            is_ip = isinstance(where, tuple) and accepted.family != socket.AF_UNIX
            self._admit(accepted, unmapped(where[0]) if is_ip else LOCAL)

    def _rest(self, error: OSError) -> None:
        """Accepts nothing for a moment: with no descriptor left the socket would be ready again at once."""
        if error.errno not in _NO_DESCRIPTOR:
            _log.error("the AWS door cannot accept: %s", error)
        self._shared.refusals.add(f"connections cannot be accepted: {error.strerror}", "")
        self._loop.remove_reader(self._listening)
        self._resting = self._loop.call_later(REST_SECONDS, self._listen)

    def _admit(self, accepted: socket.socket, host: str) -> None:
        peer, reason = self._shared.peers.admit(network(host))
        if peer is None:
            accepted.close()
            self._shared.refusals.add(reason, host)
            return
        accepted.setblocking(False)
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = HttpConnection(self._shared, peer, host)
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK_SECONDS, self._look)
        connection.opening = opening = self._loop.create_task(self._open(accepted, connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket, connection: HttpConnection) -> None:
        """Begins a connection: with TLS, after the handshake."""
        handshake = None if self._tls is None else HEAD_SECONDS
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=self._tls, ssl_handshake_timeout=handshake
            )
        except (OSError, asyncio.CancelledError):  # TimeoutError and ssl.SSLError are OSErrors
            connection.leave()
            with contextlib.suppress(OSError):
                accepted.close()

    def _look(self) -> None:
        """Ends connections that are late, and looks again while there are any: an idle server is not woken."""
        now = self._loop.time()
        for connection in list(self._shared.connections):
            connection.look(now)
        self._looking = self._loop.call_later(LOOK_SECONDS, self._look) if self._shared.connections else None
