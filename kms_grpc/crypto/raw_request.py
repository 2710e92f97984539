"""Encrypt and Decrypt on serialised messages: the C core reads the request and writes the response.

The scanner accepts a request only if protobuf's own parser would read the same from it (native/request.h). For a
request that it rejects, the caller parses the message with protobuf. Each thread has one buffer, so a `Scanned` is
valid until the same thread scans again.
"""

from __future__ import annotations

import threading
from typing import Any, Final, TypeAlias

from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import raise_for

ENCRYPT: Final[int] = lib.KMS_ENCRYPT
DECRYPT: Final[int] = lib.KMS_DECRYPT
RE_ENCRYPT: Final[int] = lib.KMS_RE_ENCRYPT
DATA_KEY: Final[int] = lib.KMS_DATA_KEY
NO_CONTEXT: Final = 4
"""Length of the canonical form of the empty encryption context."""

CMaterial: TypeAlias = Any
"""Key material in the form that C needs to answer a request: a kms_material."""

_scan, _answer, _forget, _unpack = lib.kms_call_scan, lib.kms_call_answer, lib.kms_call_forget, ffi.unpack


Scanned: TypeAlias = tuple[bytes, bool]
"""A request that the scanner accepted: its identity, which is its KeyId, followed in Decrypt by the blob's first 55
bytes; and whether it has an encryption context."""


class _Buffer(threading.local):
    """A kms_call for each thread, with the addresses of its identity and answer."""

    def __init__(self) -> None:
        call = ffi.new("kms_call *")
        self.parts = (call, ffi.cast("char *", call.identity), ffi.cast("char *", call.answer))
        self.context = ffi.cast("char *", call.context)


_buffer = _Buffer()


def material(handle: int, prefix: bytes, associated: bytes) -> CMaterial | None:
    """Returns the material for `answer`, or None if the ARN is longer than 512 bytes.

    `handle` names the message root, `prefix` is the first 55 bytes of its blobs, `associated` is
    ciphertext_blob.associated_prefix(ARN).
    """
    size = len(associated)
    if size > lib.KMS_MAXIMUM_ARN + 2:
        return None
    made = ffi.new("kms_material *", {"handle": handle, "associated_len": size, "associated": size})
    ffi.memmove(made.prefix, prefix, lib.KMS_PREFIX_SIZE)
    ffi.memmove(made.associated, associated, size)
    return made


def scan(operation: int, raw: bytes, most: int) -> Scanned | None:
    """Reads a request of ENCRYPT or DECRYPT. Returns None if the scanner rejects it, or if its plaintext or blob has
    more than `most` bytes."""
    call, identity, _ = _buffer.parts
    if not _scan(call, operation, raw, len(raw), most):
        return None
    return _unpack(identity, call.identity_len), call.context_len > NO_CONTEXT


def scanned_context() -> bytes:
    """Returns the canonical form of the encryption context of the request that this thread scanned last."""
    call = _buffer.parts[0]
    context: bytes = _unpack(_buffer.context, call.context_len)
    return context


def answer(operation: int, raw: bytes, under: CMaterial) -> bytes:
    """Returns the serialised response to the request that this thread scanned last.

    Raises the errors of envelope.seal and envelope.open_blob.
    """
    call, _, place = _buffer.parts
    status = _answer(call, operation, under, raw, len(raw))
    if status:
        raise_for(status)
    answered: bytes = _unpack(place, call.answer_len)
    if operation == DECRYPT:
        _forget(call)
    return answered
