"""The parts of HTTP/2 (RFC 9113) and HPACK (RFC 7541) that unary gRPC calls of a load generator need.

A Python client library would cost as much per call as the server. This one sends the same request repeatedly, so its
frames are built once, and reads only the frame headers and `grpc-status` of answers. SETTINGS_HEADER_TABLE_SIZE is 0,
so the server sends header names and values literally.

    frame   3 length · 1 type · 1 flags · 4 stream · payload
    message 1 compressed (0) · 4 length · bytes, in DATA frames   (gRPC over HTTP/2)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from struct import Struct
from time import perf_counter_ns
from typing import Final, NamedTuple

from kms_grpc.bench.sockets import PATIENCE_S, Trust, connect

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 0x1, 0x2, 0x3, 0x4, 0x5
LARGEST_WINDOW: Final = 2**31 - 1
FIRST_WINDOW: Final = 65_535
FIRST_FRAME_SIZE: Final = 16_384
HEADER_TABLE_BYTES: Final = 4_096
FIRST_DYNAMIC_INDEX: Final = 62
READ_BYTES: Final = 256 * 1024
RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE, CANCELLED = 8, 13, 14, 1
STATUS_OF_RESET: Final = {0x7: UNAVAILABLE, 0x8: CANCELLED, 0xB: RESOURCE_EXHAUSTED}
"""The gRPC status of a stream that is reset without trailers, by HTTP/2 error code (gRPC over HTTP/2, section HTTP2
Transport Mapping). Every other code means INTERNAL."""
CANCEL: Final = (8).to_bytes(4)
STATUSES: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip

_head = Struct(">IBI")
_setting = Struct(">HI")
_status = re.compile(rb"\x0bgrpc-status[\x01\x02]([0-9]{1,2})")


class CallAnswer(NamedTuple):
    status: int
    """The gRPC status code; 0 is OK."""
    message: bytes
    trailers: bytes
    """The header block of the trailers, with literal names and values."""


Metadata = Sequence[tuple[str, str]]
Ended = Callable[["LoadConnection", int, int], None]
"""Takes the connection, stream and gRPC status of a call that has ended."""


# --- header blocks -----------------------------------------------------------------------------------------------


def integer(value: int, bits: int, first: int) -> bytes:
    """Encodes an integer (RFC 7541 §5.1): in the low `bits` of the first byte, and in more bytes if necessary.

    `first` gives the other bits of the first byte.
    """
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    encoded, value = bytearray((first | most,)), value - most
    while value >= 128:
        encoded.append(value % 128 + 128)
        value //= 128
    encoded.append(value)
    return bytes(encoded)


def literal(name: str, value: str, kept: bool) -> bytes:
    """Encodes a header by name and value (RFC 7541 §6.2). With `kept` the receiver adds it to its dynamic table."""
    encoded = b"\x40" if kept else b"\x00"
    for text in (name.encode(), value.encode()):
        encoded += integer(len(text), 7, 0) + text
    return encoded


def header_blocks(headers: Metadata) -> tuple[bytes, bytes]:
    """Returns the header block of the first call on a connection, and that of every later call.

    The first has names and values; later ones have their indexes in the receiver's dynamic table, if they fit into it.
    """
    kept = sum(32 + len(name) + len(value) for name, value in headers) <= HEADER_TABLE_BYTES
    first = b"".join(literal(name, value, kept) for name, value in headers)
    if not kept:
        return first, first
    last = FIRST_DYNAMIC_INDEX + len(headers) - 1
    return first, b"".join(integer(last - place, 7, 0x80) for place in range(len(headers)))


def request_headers(path: str, metadata: Metadata) -> Metadata:
    return (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "kms-grpc-bench"),
        *metadata,
    )


def timeout_header(left_ns: int) -> bytes:
    """Encodes `grpc-timeout` in milliseconds, at least one."""
    return literal("grpc-timeout", f"{max(1, left_ns // 1_000_000)}m", False)


def status_of(block: bytes) -> int | None:
    """Returns the gRPC status in a header block; None if there is none."""
    found = _status.search(block)
    return int(found[1]) if found else None


def status_name(status: int) -> str:
    """Returns the name of a gRPC status code, such as UNAVAILABLE for 14."""
    return STATUSES[status] if 0 <= status < len(STATUSES) else str(status)


def frame(kind: int, flags: int, stream: int, payload: bytes | memoryview) -> bytes:
    return _head.pack(len(payload) << 8 | kind, flags, stream) + payload


def framed(message: bytes) -> bytes:
    """Returns a gRPC message with its length prefix."""
    return b"\0" + len(message).to_bytes(4) + message


# --- a connection ------------------------------------------------------------------------------------------------


class LoadConnection:
    """A non-blocking HTTP/2 connection of the load generator. `ended` is called for each call that ends."""

    def __init__(self, endpoint: str, ended: Ended, trust: Trust | None = None) -> None:
        """Connects to HOST:PORT or unix:/path, with `trust` under TLS. Raises OSError."""
        self._socket = connect(endpoint, trust)
        self._ended = ended
        self._open: set[int] = set()
        self._collected: dict[int, bytearray] = {}
        self._trailers: dict[int, bytes] = {}
        self._unread = b""
        self._unsent = bytearray(PREFACE + _first_settings())
        self._held: dict[int, _Held] = {}
        self._waiting: dict[int, tuple[bytes, bytes, int | None]] = {}
        self._most_open = LARGEST_WINDOW
        self._next_stream = 1
        self._window = FIRST_WINDOW
        self._first_window = FIRST_WINDOW
        self._frame_size = FIRST_FRAME_SIZE
        self._received = 0
        self.alive = True
        self._greet()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def waits_to_send(self) -> bool:
        return bool(self._unsent)

    @property
    def in_flight(self) -> int:
        return len(self._open)

    def close(self) -> None:
        self.alive = False
        self._socket.close()

    def begin(self, block: bytes, message: bytes, until_ns: int | None = None) -> int:
        """Starts a call from a header block and a message with its prefix; returns the number of its stream.

        `flush` sends the call. A call above the server's limit on concurrent streams is queued here. `until_ns` is the
        deadline by perf_counter_ns.
        """
        stream = self._next_stream
        self._next_stream += 2
        if len(self._open) < self._most_open:
            self._send(stream, block, message, until_ns)
        else:
            self._waiting[stream] = block, message, until_ns
        return stream

    def cancel(self, stream: int) -> bool:
        """Cancels a call without calling `ended`. Returns False if the call was still queued here."""
        if self._waiting.pop(stream, None) is not None:
            return False
        self._open.discard(stream)
        self._held.pop(stream, None)
        self._unsent += frame(RST_STREAM, 0, stream, CANCEL)
        self._send_next()
        return True

    def _send_next(self) -> None:
        if self._waiting and self.alive:
            stream = next(iter(self._waiting))
            self._send(stream, *self._waiting.pop(stream))

    def _send(self, stream: int, block: bytes, message: bytes, until_ns: int | None) -> None:
        self._open.add(stream)
        if until_ns is not None:
            block += timeout_header(until_ns - perf_counter_ns())
        self._unsent += _head.pack(len(block) << 8 | HEADERS, END_HEADERS, stream) + block
        if self._held or len(message) > min(self._window, self._first_window, self._frame_size):
            self._held[stream] = _Held(stream, memoryview(message), self._first_window)
            self._send_held()
        else:
            self._window -= len(message)
            self._unsent += _head.pack(len(message) << 8 | DATA, END_STREAM, stream) + message

    def call(self, path: str, message: bytes, metadata: Metadata) -> CallAnswer:
        """Makes one call and waits for its answer, while no other call is in flight. Raises OSError."""
        ended: dict[int, int] = {}
        usual, self._ended = self._ended, lambda _, stream, status: ended.update({stream: status})
        self._socket.settimeout(PATIENCE_S)
        try:
            block = b"".join(literal(name, value, False) for name, value in request_headers(path, metadata))
            stream = self.begin(block, framed(message))
            self._collected[stream] = bytearray()
            while stream not in ended and self.alive:
                self.flush()
                self.read()
        finally:
            self._ended = usual
            self._socket.settimeout(0)
        status = ended.get(stream, UNAVAILABLE)
        return CallAnswer(status, bytes(self._collected.pop(stream)[5:]), self._trailers.pop(stream, b""))

    def flush(self) -> None:
        """Sends queued bytes, as many as the socket takes."""
        if not self._unsent:
            return
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self._lose()
            return
        del self._unsent[:sent]

    def read(self) -> None:
        """Reads from the socket and calls `ended` for each call that has ended."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        self._take_in(self._unread + data if self._unread else data)

    def _take_in(self, data: bytes) -> None:
        at, end = 0, len(data)
        while end - at >= 9:
            word, flags, stream = _head.unpack_from(data, at)
            after = at + 9 + (word >> 8)
            if after > end:
                break
            kind = word & 0xFF
            if kind == DATA:
                self._received += word >> 8
                if self._collected and stream in self._collected:
                    self._collected[stream] += data[at + 9 : after]
            elif kind == HEADERS:
                if flags & END_STREAM:
                    self._end(stream, data[at + 9 : after])
            else:
                self._obey(kind, flags, stream, data[at + 9 : after])
            at = after
        self._unread = data[at:]
        self._make_room()

    def _end(self, stream: int, block: bytes) -> None:
        status = status_of(block)
        if stream in self._collected:
            self._trailers[stream] = block
        self._finish(stream, 2 if status is None else status)

    def _finish(self, stream: int, status: int) -> None:
        """Ends a call. The rest of a request that was answered early is not sent."""
        if stream in self._open:
            self._open.discard(stream)
            held = self._held.pop(stream, None)
            if held is not None:
                self._unsent += frame(RST_STREAM, 0, stream, CANCEL)
            self._send_next()
            self._ended(self, stream, status)

    def _obey(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._adopt(payload)
            self._unsent += frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self._unsent += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload))
        elif kind == RST_STREAM:
            self._finish(stream, STATUS_OF_RESET.get(int.from_bytes(payload), INTERNAL))
        elif kind == GOAWAY:
            self._lose()

    def _adopt(self, payload: bytes) -> None:
        for name, value in _setting.iter_unpack(payload):
            if name == INITIAL_WINDOW_SIZE:
                for held in self._held.values():
                    held.window += value - self._first_window
                self._first_window = value
            elif name == MAX_CONCURRENT_STREAMS:
                self._most_open = value
            elif name == MAX_FRAME_SIZE:
                self._frame_size = value
        self._send_held()

    def _widen(self, stream: int, more: int) -> None:
        if stream == 0:
            self._window += more
        if stream in self._held:
            self._held[stream].window += more
        self._send_held()

    def _send_held(self) -> None:
        """Sends as much of the held messages as the flow-control windows allow, in order.

        A message whose stream window is closed does not hold up the next one.
        """
        for held in list(self._held.values()):
            while held.message and (size := min(self._window, held.window, self._frame_size)) > 0:
                part, held.message = held.message[:size], held.message[size:]
                held.window -= len(part)
                self._window -= len(part)
                self._unsent += frame(DATA, 0 if held.message else END_STREAM, held.stream, part)
            if not held.message:
                del self._held[held.stream]
            if self._window <= 0:
                return

    def _make_room(self) -> None:
        if self._received > LARGEST_WINDOW // 2:
            self._unsent += frame(WINDOW_UPDATE, 0, 0, self._received.to_bytes(4))
            self._received = 0

    def _lose(self) -> None:
        """Marks the connection as lost. Its calls end with UNAVAILABLE."""
        if not self.alive:
            return
        self.alive = False
        for stream in sorted(self._open):
            self._finish(stream, UNAVAILABLE)
        for stream in self._waiting:
            self._ended(self, stream, UNAVAILABLE)

    def _greet(self) -> None:
        """Waits for the server's settings, so that its limit on streams is known before the first call."""
        self._socket.settimeout(PATIENCE_S)
        self.flush()
        self.read()
        self.flush()
        self._socket.settimeout(0)
        if not self.alive:
            raise ConnectionError("the server closed the connection at once")


class _Held:
    """A message that waits for the server's flow-control windows."""

    __slots__ = ("stream", "message", "window")

    def __init__(self, stream: int, message: memoryview, window: int) -> None:
        self.stream = stream
        self.message = message
        self.window = window


def _first_settings() -> bytes:
    """Returns settings without a header table and server push, and with the largest windows."""
    settings = ((HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, LARGEST_WINDOW))
    wider = (LARGEST_WINDOW - FIRST_WINDOW).to_bytes(4)
    packed = b"".join(_setting.pack(name, value) for name, value in settings)
    return frame(SETTINGS, 0, 0, packed) + frame(WINDOW_UPDATE, 0, 0, wider)
