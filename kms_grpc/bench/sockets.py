"""Connections of the bench's own generator: to HOST:PORT, in clear or under TLS, or to unix:/path."""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final

import msgspec

PATIENCE_S: Final = 20.0


class Trust(msgspec.Struct, frozen=True):
    """TLS: `ca` is a PEM file of the certificates that are trusted, `name` what the server's must be good for, where
    that is not HOST."""

    ca: str
    name: str | None = None


def connect(endpoint: str, trust: Trust | None = None) -> socket.socket:
    """Connected, and blocking for PATIENCE_S at most. Raises OSError."""
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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the default of 3.13 refuses what gRPC takes
    context.load_verify_locations(trust.ca)
    context.set_alpn_protocols(["h2"])
    context.sslsocket_class = _TlsSocket
    try:
        return context.wrap_socket(connection, server_hostname=trust.name or host)
    except OSError:
        connection.close()
        raise


class _TlsSocket(ssl.SSLSocket):
    """Where nothing moves it says so as other sockets do. Nothing is left in it that select does not see: a read of one
    record's size takes the whole record."""

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
