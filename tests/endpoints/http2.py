"""Calls in bare HTTP/2, to send what gRPC's clients refuse to send.

Frames follow RFC 9113: length 24 bits · type 8 · flags 8 · stream 32 · payload. Headers are HPACK literals without
indexing (RFC 7541, 6.2.2), so the encoder has no state.
"""

from __future__ import annotations

import re
import socket

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS = 1, 4
WAIT_SECONDS = 60
NO_ERROR = bytes(4)
"""The error of a GOAWAY that says goodbye, and of the RST_STREAM after an early answer to a request."""
NO_HEADER_TABLE = (1).to_bytes(2) + bytes(4)
"""The setting that has the server send every header literally."""
NO_WINDOW = (4).to_bytes(2) + bytes(4)
"""The setting that lets the server send no DATA on any stream."""


def status_of_call(address: str, path: str, headers: list[tuple[bytes, bytes]], message: bytes = b"") -> int:
    """Returns the grpc-status of the response. Raises ConnectionError if the server reset the stream or connection."""
    host, _, port = address.rpartition(":")
    block = _request(path, headers)
    body = b"\0" + len(message).to_bytes(4) + message
    with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as connection:
        connection.sendall(PREFACE + _frame(SETTINGS, 0, 0) + _frame(HEADERS, END_HEADERS, 1, block))
        connection.sendall(_frame(DATA, END_STREAM, 1, body))
        return _read_status(connection)


class BareHeaders:
    """A connection with calls whose headers were sent, and nothing else; or, with `message`, whole calls whose
    responses the server may not send, because the client opens no window for them."""

    def __init__(
        self,
        address: str,
        path: str,
        headers: list[tuple[bytes, bytes]],
        calls: int,
        message: bytes | None = None,
    ) -> None:
        host, _, port = address.rpartition(":")
        self.connection = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)
        block = _request(path, headers)
        frames = [_frame(SETTINGS, 0, 0, NO_HEADER_TABLE if message is None else NO_HEADER_TABLE + NO_WINDOW)]
        for stream in range(1, 2 * calls, 2):
            frames.append(_frame(HEADERS, END_HEADERS, stream, block))
            if message is not None:
                frames.append(_frame(DATA, END_STREAM, stream, b"\0" + len(message).to_bytes(4) + message))
        self.connection.sendall(PREFACE + b"".join(frames))

    def statuses(self, calls: int) -> list[int]:
        """Returns the grpc-status of so many calls that have ended."""
        return [_read_status(self.connection) for _ in range(calls)]

    def is_closed(self) -> bool:
        """Reads what has come; returns whether the server has closed the connection."""
        return is_closed(self.connection)

    def close(self) -> None:
        self.connection.close()


def is_closed(connection: socket.socket) -> bool:
    """Reads what has come; returns whether the other side has closed the connection."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def settings() -> bytes:
    """Returns a frame of settings that changes none."""
    return _frame(SETTINGS, 0, 0)


def _request(path: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"kms")]
    pseudo += [(b"te", b"trailers"), (b"content-type", b"application/grpc")]
    return b"".join(b"\0" + _literal(name) + _literal(value) for name, value in [*pseudo, *headers])


def _read_status(connection: socket.socket) -> int:
    while True:
        head = _exactly(connection, 9)
        payload = _exactly(connection, int.from_bytes(head[:3]))
        error = payload[4:8] if head[3] == GOAWAY else payload
        if head[3] in (RST_STREAM, GOAWAY) and error != NO_ERROR:
            raise ConnectionError(f"frame of type {head[3]}: {payload!r}")
        if head[3] == HEADERS and head[4] & END_STREAM:
            found = re.search(rb"grpc-status.([0-9]{1,2})", payload, re.DOTALL)
            assert found, payload
            return int(found[1])


def _exactly(connection: socket.socket, size: int) -> bytes:
    read = b""
    while len(read) < size:
        some = connection.recv(size - len(read))
        if not some:
            raise ConnectionError("closed by the server")
        read += some
    return read


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _literal(text: bytes) -> bytes:
    """Returns an HPACK string: its length as an integer with a 7-bit prefix (RFC 7541, 5.1), then its bytes."""
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, length = len(text) - 127, b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + text
