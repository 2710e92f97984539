"""Sockets of the bench's load generator: to HOST:PORT, as plain text or under TLS, or to unix:/path."""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final

import msgspec

PATIENCE_S: Final = 20.0


class Trust(msgspec.Struct, frozen=True):
    """The trusted certificates of a TLS connection.

    `ca` is a PEM file, `name` the name that the server's certificate must have if that is not HOST.
    """

    ca: str
    name: str | None = None


def connect(endpoint: str, trust: Trust | None = None) -> socket.socket:
    """Returns a connected socket that blocks for at most PATIENCE_S. Raises OSError."""
    if endpoint.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE_S)
        connection.connect(endpoint.removeprefix("unix:"))
        return connection
    host, _, port = endpoint.rpartition(":")
    host = host.strip("[]")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection if trust is None else _under_tls(connection, host, trust)


def _under_tls(connection: socket.socket, host: str, trust: Trust) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # 3.13's default refuses certificates that gRPC accepts
    context.load_verify_locations(trust.ca)
    context.set_alpn_protocols(["h2"])
    context.sslsocket_class = _TlsSocket
    try:
        return context.wrap_socket(connection, server_hostname=trust.name or host)
    except OSError:
        connection.close()
        raise


class _TlsSocket(ssl.SSLSocket):
    """A TLS socket that raises BlockingIOError like other sockets if it cannot read or write.

    No decrypted bytes stay where `select` does not see them: a read of one record's size returns the whole record.
    """

    def recv(self, buflen: int = 16_384, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None

    def send(self, data: Any, flags: int = 0) -> int:
        try:
            return super().send(data, flags)
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None
