"""Markers of paged listings: opaque to callers, bound to their listing, and signed, so that none can be made or moved.

| offset | bytes | field |
|---|---|---|
| 0 | 1 | version, 1 |
| 1 | 8 | sequence after which the next page begins, big-endian |
| 9 | 16 | MAC over version, sequence, operation, region, account and filter, under the shard's key |

in base64url without padding: 34 characters. A listing walks along the order of creation, so keys that come or go
between two pages neither repeat nor hide the others.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from kms_grpc.crypto.framing import frame
from kms_grpc.errors import InvalidMarkerException
from kms_grpc.operations.call import Call
from kms_grpc.operations.descriptors import field_limits

_LAYOUT = struct.Struct(">BQ16s")
_VERSION = 1


class Sequenced(Protocol):
    """A row with its place in a listing."""

    @property
    def sequence(self) -> int: ...


Row = TypeVar("Row", bound=Sequenced)


def page(
    call: Call, request: Any, filtered_by: str, read: Callable[[int, int], Sequence[Row]]
) -> tuple[Sequence[Row], str | None]:
    """One page of at most Limit rows from `read(after, count)`, and the marker of the next one or None."""
    limit = request.limit if request.HasField("limit") else field_limits(type(request), "limit").default_value
    after = _position(call, request.marker, filtered_by) if request.marker else 0
    rows = read(after, limit + 1)
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], _marker(call, rows[limit - 1].sequence, filtered_by)


def _marker(call: Call, sequence: int, filtered_by: str) -> str:
    mac = call.shard.sign(_signed_bytes(call, sequence, filtered_by))[:16]
    return base64.urlsafe_b64encode(_LAYOUT.pack(_VERSION, sequence, mac)).rstrip(b"=").decode()


def _position(call: Call, marker: str, filtered_by: str) -> int:
    try:
        version, sequence, _ = _LAYOUT.unpack(base64.urlsafe_b64decode(marker + "=" * (-len(marker) % 4)))
    except (binascii.Error, struct.error, ValueError):
        version, sequence = 0, 0
    right = _marker(call, sequence, filtered_by)
    if version != _VERSION or not hmac.compare_digest(marker.encode(), right.encode()):
        raise InvalidMarkerException(
            "The marker is not one of this listing: send the NextMarker of its previous page unchanged."
        )
    position: int = sequence
    return position


def _signed_bytes(call: Call, sequence: int, filtered_by: str) -> bytes:
    parts = (call.operation.name, call.shard.region, call.account, filtered_by)
    return frame(b"kms-grpc v1 marker", struct.pack(">BQ", _VERSION, sequence), *(part.encode() for part in parts))
