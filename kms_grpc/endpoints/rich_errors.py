"""Errors as gRPC sends them: status code, text, and google.rpc.Status in the trailers, which stay under 4 KiB.

Source of the pushback trailer: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import grpc

from kms_grpc.errors import TEXT_BYTES, KMSError, ThrottlingException
from kms_grpc.operations.contract.status import status_of

DETAILS = "grpc-status-details-bin"
PUSHBACK = "grpc-retry-pushback-ms"
ENCODED_BYTES = 1200


class Refusal(NamedTuple):
    """The end of a refused call, as the arguments of grpc.aio.ServicerContext.abort."""

    code: grpc.StatusCode
    text: str
    trailers: tuple[tuple[str, str | bytes], ...]


def refusal(error: KMSError, region: str) -> Refusal:
    """Returns the gRPC form of an error. Caches that of ThrottlingException, frequent under overload."""
    return _throttling(error.text, region) if type(error) is ThrottlingException else _refusal(error, region)


@lru_cache(64)
def _throttling(text: str, region: str) -> Refusal:
    return _refusal(ThrottlingException(text), region)


def _refusal(error: KMSError, region: str) -> Refusal:
    code = grpc.StatusCode[error.status]
    text = _shortened(error.text)
    status = status_of(error, text, region)
    trailers: list[tuple[str, str | bytes]] = [(DETAILS, status.SerializeToString())]
    if error.pushback_ms is not None:
        trailers.append((PUSHBACK, str(error.pushback_ms)))
    return Refusal(code, text, tuple(trailers))


def _shortened(text: str) -> str:
    """Cut a text to TEXT_BYTES in UTF-8 and ENCODED_BYTES when percent-encoded: it is sent in the details and again as
    grpc-message."""
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
    """True for bytes that percent-encoding leaves unchanged (gRPC over HTTP/2, Status-Message)."""
    return 0x20 <= byte <= 0x7E and byte != 0x25
