"""Joins fields injectively: two different lists of fields never give the same bytes."""

from __future__ import annotations

from struct import Struct

_u32 = Struct(">I").pack


def frame(*fields: bytes) -> bytes:
    """Returns u32 length (big-endian) and bytes of each field. Used for associated data and MAC input."""
    return b"".join([part for field in fields for part in (_u32(len(field)), field)])
