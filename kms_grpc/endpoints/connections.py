"""Closes a connection that gRPC holds. gRPC for Python has no way to do so; Linux tells which descriptor it is."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Final

from kms_grpc.addresses import plain_ip
from kms_grpc.endpoints.grpc_metadata import address

DESCRIPTORS: Final = Path("/proc/self/fd")


def close_connection(peer: str) -> None:
    """Shuts down the TCP connection of gRPC's `peer`, such as `ipv4:127.0.0.1:50162`, if it is still open. gRPC then
    ends its calls. A Unix socket's peers cannot be told apart; they are left alone."""
    if not peer.startswith(("ipv4:", "ipv6:")):
        return
    wanted = str(plain_ip(address(peer))), int(peer.rpartition(":")[2])
    for entry in list(DESCRIPTORS.iterdir()):
        with contextlib.suppress(OSError, ValueError), _duplicate(int(entry.name)) as found:
            if _peer_of(found) == wanted:
                found.shutdown(socket.SHUT_RDWR)


def _duplicate(descriptor: int) -> socket.socket:
    """Returns a socket of its own for the descriptor, which gRPC may close meanwhile. Raises OSError if the descriptor
    is no socket."""
    own = os.dup(descriptor)
    try:
        return socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise


def _peer_of(found: socket.socket) -> tuple[str, int] | None:
    name = found.getpeername()
    return (str(plain_ip(name[0])), name[1]) if isinstance(name, tuple) else None
