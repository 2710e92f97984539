"""How an error goes out by gRPC: status, text, and google.rpc.Status with ErrorInfo (and RetryInfo where a retry
helps).

ErrorInfo.reason is AWS's name of the error, domain `kms_grpc.v1`, metadata key, state and region. Trailers stay under
4 KiB. Source: https://google.aip.dev/193, https://github.com/grpc/proposal/blob/master/A6-client-retries.md
(pushback)
"""

from __future__ import annotations

from typing import NamedTuple

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from kms_grpc.errors import KMSError

DOMAIN = "kms_grpc.v1"
DETAILS = "grpc-status-details-bin"
PUSHBACK = "grpc-retry-pushback-ms"
TEXT_BYTES = 800
ENCODED_BYTES = 1200
RETRY_AFTER = Duration(nanos=200_000_000)


class Refusal(NamedTuple):
    code: grpc.StatusCode
    text: str
    trailers: tuple[tuple[str, str | bytes], ...]


def refusal(error: KMSError, region: str) -> Refusal:
    code = grpc.StatusCode[error.status]
    text = _shortened(error.text)
    status = status_pb2.Status(code=code.value[0], message=text)
    facts = {"region": region, "key": error.key, "state": error.state}
    info = error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN, metadata={k: v for k, v in facts.items() if v})
    status.details.add().Pack(info)
    if error.retryable:
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=RETRY_AFTER))
    trailers: list[tuple[str, str | bytes]] = [(DETAILS, status.SerializeToString())]
    if error.pushback_ms is not None:
        trailers.append((PUSHBACK, str(error.pushback_ms)))
    return Refusal(code, text, tuple(trailers))


def _shortened(text: str) -> str:
    """At most 800 bytes of UTF-8, 1,200 percent-encoded: it travels both ways, in the details and as grpc-message."""
    encoded = text.encode("utf-8", "replace")
    size = len(encoded)
    if size <= TEXT_BYTES and size + 2 * sum(not _is_plain(byte) for byte in encoded) <= ENCODED_BYTES:
        return text
    cost = 0
    for end, byte in enumerate(encoded[:TEXT_BYTES]):
        cost += 1 if _is_plain(byte) else 3
        if cost > ENCODED_BYTES:
            return encoded[:end].decode("utf-8", "ignore") + "…"
    return encoded[:TEXT_BYTES].decode("utf-8", "ignore") + "…"


def _is_plain(byte: int) -> bool:
    """Whether percent-encoding leaves it alone (gRPC over HTTP/2, Status-Message)."""
    return 0x20 <= byte <= 0x7E and byte != 0x25
