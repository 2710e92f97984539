"""Credentials of a gRPC call, read from its metadata once: when its headers have arrived.

gRPC hands the metadata to `GenericRpcHandler.service`, in the task that later serves the call. `arrive` keeps what it
reads for that task, since asking the context for metadata again costs 4 µs.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Iterable
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import grpc

from kms_grpc.addresses import unmapped
from kms_grpc.audit.record import new_id
from kms_grpc.authentication.credentials import Credentials

Context = grpc.aio.ServicerContext[Any, Any]

BEARER: Final = "bearer "
asks_clients = False
"""True once a door of this process asks callers for certificates: reading them costs microseconds on each call."""
_arrived: ContextVar[Credentials] = ContextVar("arrived")


def arrive(metadata: Iterable[Any]) -> Credentials:
    """Returns the credentials in the metadata, unverified, with a new request id if none was sent. The peer is not
    known yet. Call it in the task that serves the call."""
    token: str | None = None
    region: str | None = None
    sent_id: str | None = None
    user_agent = ""
    for name, value in metadata:
        if name == "authorization":
            token = value[len(BEARER) :] if value[: len(BEARER)].lower() == BEARER else None
        elif name == "kms-region":
            region = value
        elif name == "kms-request-id":
            sent_id = value
        elif name == "user-agent":
            user_agent = value
    credentials = Credentials(token, region, sent_id or new_id(), bool(sent_id), "", user_agent)
    _arrived.set(credentials)
    return credentials


def credentials_of(context: Context) -> Credentials:
    """Returns the credentials that have arrived with this task's call, with the client certificate, if there is one."""
    peer = context.peer()
    certificate = certificate_of(context) if asks_clients and not peer.startswith("unix:") else None
    token, region, request_id, is_sent, _, user_agent, *_ = _arrived.get()
    return Credentials(token, region, request_id, is_sent, address(peer), user_agent, certificate=certificate)


def certificate_of(context: Context) -> bytes | None:
    """Returns the client certificate of a call's connection (DER)."""
    found = next(iter(context.auth_context().get("x509_pem_cert", ())), None)
    return None if found is None else _der(found)


@lru_cache(1024)
def _der(pem: bytes) -> bytes:
    """Returns one object for equal certificates, so that look-ups by it need not read it."""
    return ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))


def with_deadline(context: Context) -> Credentials:
    """Returns the credentials with the deadline of the call."""
    return credentials_of(context)._replace(deadline_ns=deadline(context))


def deadline(context: Context) -> int | None:
    """Returns the deadline of a call in time.monotonic_ns(), or None."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic_ns() + int(remaining * 1e9)


@lru_cache(1024)
def address(peer: str) -> str:
    """Returns the IP address in gRPC's name of a peer, such as `ipv4:127.0.0.1:50162` or `ipv6:%5B::1%5D:50162`.

    Other names, such as `unix:`, are returned unchanged.
    """
    kind, _, rest = peer.partition(":")
    return unmapped(unquote(rest.rpartition(":")[0]).strip("[]")) if kind in ("ipv4", "ipv6") else peer


def printable(text: str, limit: int) -> str:
    """Returns a text that metadata may carry (printable ASCII, see gRPC over HTTP/2, Custom-Metadata), else ""."""
    return text if len(text) <= limit and text.isascii() and text.isprintable() else ""


def _is_wanted(record: logging.LogRecord) -> bool:
    """Drop gRPC's reports, with tracebacks, of metadata that is not UTF-8: any client could fill the log with them."""
    return not str(record.msg).startswith("Invalid encoding on")


logging.getLogger("grpc._cython.cygrpc").addFilter(_is_wanted)
