"""Pages of listings, and their markers: opaque to callers, bound to one listing, and authenticated against forgery.

| offset | bytes | field |
|---|---|---|
| 0 | 1 | version, 1 |
| 1 | 16 | MAC over version, position, operation, region, account and filter, under the shard's key |
| 17 | n | position after which the next page begins: a u64, big-endian, or a tag key in UTF-8 |

A marker is these bytes in base64url without padding: 34 characters for a number, at most 706 for a tag key. The order
of a listing does not change, so rows that are added or removed between two pages neither repeat nor hide the others.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from kms_grpc.crypto.framing import frame
from kms_grpc.errors import InvalidMarkerException
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.descriptors import value_or_default

_VERSION: Final = b"\1"
_MAC_SIZE: Final = 16

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a listing."""

    first: Any
    """The position before the first row."""
    pack: Callable[[Any], bytes]
    """Writes a row's position for a marker."""
    unpack: Callable[[bytes], Any]
    """Reads it back."""


BY_SEQUENCE = Order(0, lambda row: row.sequence.to_bytes(8), int.from_bytes)
BY_NUMBER = Order(-1, lambda row: row.number.to_bytes(8), int.from_bytes)
BY_TAG_KEY = Order("", lambda row: row.tag_key.encode(), bytes.decode)


def page(
    call: Call,
    request: Any,
    filtered_by: str,
    read: Callable[[Any, int], Sequence[Row]],
    order: Order = BY_SEQUENCE,
) -> tuple[Sequence[Row], str | None]:
    """Returns one page of at most Limit rows from `read(after, count)`, and the marker of the next page or None.
    Raises InvalidMarkerException if the request's marker is not from this listing (`filtered_by` is its filter)."""
    limit = value_or_default(request, "limit")
    after = order.unpack(_position(call, request.marker, filtered_by)) if request.marker else order.first
    rows = read(after, limit + 1)
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], _marker(call, order.pack(rows[limit - 1]), filtered_by)


def _marker(call: Call, position: bytes, filtered_by: str) -> str:
    parts = (call.operation, call.shard.region, call.account, filtered_by)
    mac = call.shard.sign(frame(b"kms-grpc v1 marker", _VERSION, position, *(part.encode() for part in parts)))
    return base64.urlsafe_b64encode(_VERSION + mac[:_MAC_SIZE] + position).rstrip(b"=").decode()


def _position(call: Call, marker: str, filtered_by: str) -> bytes:
    try:
        position = base64.urlsafe_b64decode(marker + "=" * (-len(marker) % 4))[len(_VERSION) + _MAC_SIZE :]
    except (binascii.Error, ValueError):
        position = b""
    if not hmac.compare_digest(marker.encode(), _marker(call, position, filtered_by).encode()):
        raise InvalidMarkerException(
            "The marker is not from this listing: send the NextMarker of its previous page unchanged."
        )
    return position
