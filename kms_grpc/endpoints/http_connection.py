"""One HTTP connection of the AWS door: reads requests within bounds of bytes and time, and writes their answers.

A request is served at once if it can be, and else by a task. The next one waits until it is answered, and meanwhile
nothing is read. Between two requests of one connection the event loop turns, so that other connections are served.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from kms_grpc.endpoints.http_answers import Answers
from kms_grpc.endpoints.http_requests import PIECE_BYTES, BadRequest, Request, RequestParser
from kms_grpc.endpoints.peers import Peer, Peers
from kms_grpc.endpoints.refusals import Refusals

HEAD_SECONDS: Final = 10.0
"""From the first byte of a request, or the beginning of the connection, to the end of the head."""
BODY_SECONDS: Final = 30.0
"""From the end of the head to the end of the body."""
IDLE_SECONDS: Final = 75.0
"""How long a connection stays open between requests: longer than clients keep connections in their pools."""
STRANGER_IDLE_SECONDS: Final = 10.0
"""A connection on which no call was verified stays open for less."""
CLOSE_SECONDS: Final = 5.0
"""How long a peer may take to read the last answer."""
LINGER_SECONDS: Final = 1.0
LINGER_BYTES: Final = 256 * 1024
"""How long and how much a peer may still send after a refused request, until it has read the answer. If the server
closed at once with bytes unread, it would reset the connection, and the answer would be lost."""
UNCOUNTED_BYTES: Final = 16 * 1024
"""Bytes of an unfinished body that are not counted: nearly all bodies are smaller."""
SMALL_PIECE: Final = 1_024
FREE_PIECES: Final = 8
"""Number of small pieces of a request that are read from a stranger without a pause."""
PIECE_SECONDS: Final = 0.1
"""Pause before each further piece: a head that is sent in single bytes would otherwise cost a wake-up for each."""

_QUEUED, _TRICKLING, _UNREAD = 1, 2, 4
"""Reasons to read nothing: requests wait, a pause before the next small piece, a peer that does not read its
answers."""

Reply = tuple[int, bytes, bytes, bytes]
"""Status, body, request id and content type."""
Serve = Callable[[Request, "HttpConnection"], Reply | Coroutine[Any, Any, Reply]]


class Shared:
    """The parts that all connections of a worker have in common. `largest` is the size of the largest body in bytes."""

    def __init__(self, serve: Serve, answers: Answers, peers: Peers, refusals: Refusals, largest: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.serve, self.answers, self.peers, self.refusals = serve, answers, peers, refusals
        self.largest = largest
        self.buffer = memoryview(bytearray(PIECE_BYTES))
        self.connections: set[HttpConnection] = set()
        self.stopping = False
        self._unwritten: list[tuple[asyncio.Transport, bytes]] = []

    def write_soon(self, transport: asyncio.Transport, answer: bytes) -> None:
        """Writes an answer once the requests that have arrived by now are served. A write may have to wake its peer,
        which costs a third of a call; a peer that is awake reads the other answers without being woken."""
        if not self._unwritten:
            self.loop.call_soon(self.write_all)
        self._unwritten.append((transport, answer))

    def write_all(self) -> None:
        """Writes the answers that wait."""
        unwritten, self._unwritten = self._unwritten, []
        for transport, answer in unwritten:
            if not transport.is_closing():
                transport.write(answer)


class HttpConnection(asyncio.BufferedProtocol):
    """One connection, as asyncio's protocol and as a peers.Connected. Its creation counts it among those of `peer`."""

    def __init__(self, shared: Shared, peer: Peer, host: str) -> None:
        """`host` is the whole address of the peer, as audit records have it."""
        self._shared, self.peer, self.host = shared, peer, host
        self.is_stranger = True
        """True until a call on the connection was verified."""
        self.certificate: bytes | None = None
        """The client certificate (DER), if there is one."""
        self.opening: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = RequestParser(self._take, shared.largest)
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_free = True
        self._end: BadRequest | None = None
        self._is_closing = False
        self._in_body = False
        self._held = self._pieces = self._not_reading = self._discarded = 0
        self._deadline = math.inf
        shared.connections.add(self)
        shared.peers.enter(peer, self)

    # --- called by asyncio ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        encrypted = transport.get_extra_info("ssl_object")
        if encrypted is not None and encrypted.context.verify_mode is not ssl.CERT_NONE:
            self.certificate = encrypted.getpeercert(binary_form=True)
        self._deadline = self._shared.loop.time() + HEAD_SECONDS

    def connection_lost(self, _: Exception | None) -> None:
        self._is_closing = True
        self._waiting.clear()
        self.leave()

    def get_buffer(self, _: int) -> memoryview:
        return self._shared.buffer

    def buffer_updated(self, size: int) -> None:
        if self._is_closing:
            self._discard(size)
            return
        parser = self._parser
        if not (parser.begun or parser.reading_body):
            self._deadline = self._shared.loop.time() + HEAD_SECONDS
        self._is_free = self._task is None and not self._waiting
        try:
            parser.feed(self._shared.buffer[:size])
        except BadRequest as refused:
            self._finish_with(refused)
            return
        if parser.begun or parser.reading_body:
            self._note_piece(size)
        if self._waiting and self._task is None:
            self._shared.loop.call_soon(self._serve_next)

    def eof_received(self) -> None:
        """Ends the connection: a client that has closed its side reads no more answers."""

    def pause_writing(self) -> None:
        self._stop_reading(_UNREAD)

    def resume_writing(self) -> None:
        self._go_on_reading(_UNREAD)

    # --- requests ------------------------------------------------------------------------------------------------

    def judged(self) -> None:
        """Notes that a call was verified: the connection is no stranger's any more, and its address gets back the
        token that it has cost."""
        if self.is_stranger:
            self.is_stranger = False
            self.peer.charge(-1.0)

    def _take(self, request: Request) -> None:
        self._release()
        if self._is_free:
            self._is_free = False
            self._serve(request)
        else:
            self._waiting.append(request)
            self._stop_reading(_QUEUED)

    def _serve(self, request: Request) -> None:
        reply = self._shared.serve(request, self)
        if isinstance(reply, tuple):
            self._answer(request, reply)
        else:
            self._deadline = math.inf
            self._task = self._shared.loop.create_task(self._serve_later(request, reply))

    async def _serve_later(self, request: Request, coming: Coroutine[Any, Any, Reply]) -> None:
        try:
            reply = await coming
        finally:
            self._task = None
        self._answer(request, reply)
        self._serve_next()

    def _serve_next(self) -> None:
        """Serves a request that waits, and after the last one ends the connection if it must end."""
        if self._is_closing or self._task is not None:
            return
        if self._waiting:
            self._serve(self._waiting.popleft())
            if self._task is None:
                self._shared.loop.call_soon(self._serve_next)
        elif self._end is not None:
            self._refuse(self._end)
        else:
            self._go_on_reading(_QUEUED)

    def _answer(self, request: Request, reply: Reply) -> None:
        transport = self._transport
        if self._is_closing or transport is None:
            return
        status, body, request_id, kind = reply
        keep_alive = request.keep_alive and not self._shared.stopping
        if self.is_stranger and not self.peer.charge(1 + len(request.body) // UNCOUNTED_BYTES):
            keep_alive = False
        shared = self._shared
        answer = shared.answers.answer(status, body, request_id, keep_alive, kind, is_head=request.method == b"HEAD")
        shared.write_soon(transport, answer)
        if keep_alive:
            idle = STRANGER_IDLE_SECONDS if self.is_stranger else IDLE_SECONDS
            self._deadline = shared.loop.time() + idle
            return
        shared.write_all()
        if request.is_whole:
            self._close()
        else:
            self._linger()

    # --- refusals ------------------------------------------------------------------------------------------------

    def _finish_with(self, refused: BadRequest) -> None:
        """Answers the earlier requests, then refuses these bytes, and ends the connection."""
        self._end = refused
        self._stop_reading(_QUEUED)
        if self._task is None:
            self._serve_next()

    def _refuse(self, refused: BadRequest) -> None:
        if self._is_closing or self._transport is None:
            return
        self._shared.refusals.add(refused.text, self.peer.address)
        self.peer.charge()
        self._shared.write_all()
        self._transport.write(self._shared.answers.refusal(refused.status, refused.text))
        self._linger()

    def look(self, now: float) -> None:
        """Ends the connection if it is late. Called once a second."""
        if now < self._deadline:
            return
        if self._is_closing:
            self.give_way()
        elif self._parser.begun:
            self._refuse(BadRequest(408, f"The head of the request did not arrive within {HEAD_SECONDS:g} s."))
        elif self._parser.reading_body:
            self._refuse(BadRequest(408, f"The body of the request did not arrive within {BODY_SECONDS:g} s."))
        else:
            self._close()

    def _note_piece(self, size: int) -> None:
        """Bounds a request of which a part has arrived."""
        parser, shared = self._parser, self._shared
        if parser.reading_body:
            if not self._in_body:
                self._in_body = True
                self._deadline = shared.loop.time() + BODY_SECONDS
            if parser.expects_continue and self._transport is not None:
                parser.expects_continue = False
                shared.write_all()
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            more = parser.body_bytes - self._held
            if parser.body_bytes > UNCOUNTED_BYTES:
                if not shared.peers.hold(self.peer, more):
                    self._finish_with(BadRequest(503, "Too many large requests are arriving. Retry after a moment."))
                    return
                self._held += more
        if self.is_stranger and size < SMALL_PIECE:
            self._pieces += 1
            if self._pieces > FREE_PIECES:
                self._stop_reading(_TRICKLING)
                shared.loop.call_later(PIECE_SECONDS, self._go_on_reading, _TRICKLING)

    def _release(self) -> None:
        self._in_body, self._pieces = False, 0
        if self._held:
            self._shared.peers.hold(self.peer, -self._held)
            self._held = 0

    # --- reading and the end -------------------------------------------------------------------------------------

    def _stop_reading(self, why: int) -> None:
        if not self._not_reading and not self._is_closing and self._transport is not None:
            self._transport.pause_reading()
        self._not_reading |= why

    def _go_on_reading(self, why: int) -> None:
        if self._not_reading & why:
            self._not_reading &= ~why
            if not self._not_reading and not self._is_closing and self._transport is not None:
                self._transport.resume_reading()

    def _close(self) -> None:
        """Ends the connection once its answers are sent."""
        self._is_closing = True
        self._deadline = self._shared.loop.time() + CLOSE_SECONDS
        if self._transport is not None:
            self._transport.close()

    def _linger(self) -> None:
        """Ends the connection once the peer has read the answer and closed its side, or has taken too long."""
        transport = self._transport
        assert transport is not None
        if not transport.can_write_eof():
            self._close()
            return
        if self._not_reading:
            self._not_reading = 0
            transport.resume_reading()
        self._is_closing = True
        self._deadline = self._shared.loop.time() + LINGER_SECONDS
        transport.write_eof()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > LINGER_BYTES and self._transport is not None:
            self._transport.close()

    def stop(self) -> None:
        """Ends the connection now if it is idle; otherwise it ends with the answer to its request."""
        if self._task is None and not self._waiting and not self._is_closing:
            self._shared.write_all()
            self._close()

    def give_way(self) -> None:
        """Ends the connection now."""
        self._is_closing = True
        if self._transport is not None:
            self._transport.abort()
        elif self.opening is not None:
            self.opening.cancel()
        self.leave()

    def leave(self) -> None:
        """Gives the connection's place back."""
        self._release()
        self._shared.connections.discard(self)
        self._shared.peers.leave(self.peer, self)
