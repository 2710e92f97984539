"""The canonical form of an encryption context. native/encryption_context.c draws it.

The form has at most 8,192 bytes. Unicode is not normalised. An absent context equals the empty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from kms_grpc import errors
from kms_grpc.crypto import scratch
from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import raise_for

EMPTY = b"\0\0\0\0"
MAXIMUM_SIZE: int = lib.KMS_MAXIMUM_CONTEXT

_u32 = Struct(">I").pack
_u32_pair = Struct(">II").pack
_NOT_UNICODE = "EncryptionContext is not valid Unicode"
_unpack = ffi.unpack
_canonical = lib.kms_context_canonical


def canonical(context: Mapping[str, str]) -> bytes:
    """Returns the canonical form. Raises ValidationException if it is longer than 8 KiB or has lone surrogates."""
    if not context:
        return EMPTY
    joined = _single(context) if len(context) == 1 else _joined(context)
    size = len(joined)
    if size > MAXIMUM_SIZE:
        raise_for(lib.KMS_CONTEXT_TOO_LONG)
    if len(context) == 1:
        return joined  # a single pair is in order, and str.encode has checked it
    buffer = scratch.take()
    status = _canonical(buffer, joined, size)
    if status:
        raise_for(status)
    whole: bytes = _unpack(buffer, size)
    scratch.give_back(buffer)
    return whole


def _single(context: Mapping[str, str]) -> bytes:
    """Joins the commonest context, one pair, in a third of the time: a protobuf map iterates faster over keys than
    items."""
    try:
        for key in context:
            key_bytes, value_bytes = key.encode(), context[key].encode()
    except UnicodeEncodeError:
        raise errors.ValidationException(_NOT_UNICODE) from None
    return b"%b%b%b%b" % (_u32_pair(1, len(key_bytes)), key_bytes, _u32(len(value_bytes)), value_bytes)


def _joined(context: Mapping[str, str]) -> bytes:
    """Joins the pairs in any order; C sorts them."""
    parts = [_u32(len(context))]
    try:
        for key, value in context.items():
            key_bytes, value_bytes = key.encode(), value.encode()
            parts += (_u32(len(key_bytes)), key_bytes, _u32(len(value_bytes)), value_bytes)
    except UnicodeEncodeError:
        raise errors.ValidationException(_NOT_UNICODE) from None
    return b"".join(parts)
