"""Calls over gRPC with raw bytes, and their complete responses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from kms_grpc.operations.table import TABLE

OPERATIONS = {operation.name: operation for operation in TABLE if not operation.streams}
DETAILS = "grpc-status-details-bin"
CALL_SECONDS = 60
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]


@dataclasses.dataclass(frozen=True)
class Reply:
    """A response. `code` is gRPC's, `reason` and `facts` come from ErrorInfo; `answer` is set if the call succeeded."""

    code: str
    text: str
    trailers: dict[str, Any]
    answer: Any = None
    reason: str | None = None
    domain: str | None = None
    facts: dict[str, str] = dataclasses.field(default_factory=dict)
    retry_info: bool = False

    @property
    def trailer_bytes(self) -> int:
        """Returns the size as HTTP/2 counts a header list, with grpc-status and the percent-encoded grpc-message."""
        sizes = [
            (name, len(value) * 4 // 3 + 4 if isinstance(value, bytes) else len(value))
            for name, value in self.trailers.items()
        ]
        encoded = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in self.text.encode())
        sizes += [("grpc-status", 2), ("grpc-message", encoded), (":status", 3), ("content-type", 16)]
        return sum(len(name) + size + 32 for name, size in sizes)


def metadata(token: str | None, region: str | None = None, request_id: str | None = None) -> list[tuple[str, str]]:
    pairs = [
        ("authorization", f"Bearer {token}" if token else None),
        ("kms-region", region),
        ("kms-request-id", request_id),
    ]
    return [(name, value) for name, value in pairs if value is not None]


def ask(
    channel: grpc.Channel,
    name: str,
    request: Message | bytes | None = None,
    sent: Sequence[tuple[str, str]] = (),
    seconds: float = CALL_SECONDS,
) -> Reply:
    operation = OPERATIONS[name]
    raw = request if isinstance(request, bytes) else (request or operation.request()).SerializeToString()
    method = channel.unary_unary(operation.path)
    try:
        answer, call = method.with_call(raw, metadata=sent, timeout=seconds)
    except grpc.RpcError as error:
        return refused(error)
    return Reply("OK", "", dict(call.trailing_metadata()), operation.response().FromString(answer))


def refused(error: Any) -> Reply:
    trailers = dict(error.trailing_metadata() or ())
    reply = Reply(error.code().name, error.details() or "", trailers)
    status = status_pb2.Status.FromString(trailers.get(DETAILS, b""))
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info):
            assert status.message == reply.text, "the details repeat the text of the status"
            assert status.code == error.code().value[0]
            reply = dataclasses.replace(reply, reason=info.reason, domain=info.domain, facts=dict(info.metadata))
        elif detail.Unpack(retry):
            assert retry.retry_delay.ToNanoseconds() > 0
            reply = dataclasses.replace(reply, retry_info=True)
    return reply


def connected(address: str, token: str) -> list[grpc.Channel]:
    """Returns a connection to each of two workers. The kernel picks a worker for each new connection."""
    found: dict[str, grpc.Channel] = {}
    for _ in range(200):
        channel = grpc.insecure_channel(address, OWN_CONNECTION)
        worker = ask(channel, "GetLimits", sent=metadata(token)).trailers["kms-worker"]
        if found.setdefault(worker, channel) is not channel:
            channel.close()
        if len(found) == 2:
            return list(found.values())
    raise AssertionError(f"200 connections reached only worker {list(found)}")
