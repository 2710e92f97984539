"""Encrypt and Decrypt over their messages' own bytes: the C core reads the request and writes the response.

The scanner takes a request only where it agrees with protobuf's own reader about all of it; what it doesn't take, None,
is for the long way. Each thread has one buffer: a `Scanned` is good until the same thread scans again.
"""

from __future__ import annotations

import threading
from typing import Any, Final, NamedTuple, TypeAlias

from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import raise_for

ENCRYPT: Final[int] = lib.KMS_ENCRYPT
DECRYPT: Final[int] = lib.KMS_DECRYPT
RE_ENCRYPT: Final[int] = lib.KMS_RE_ENCRYPT
DATA_KEY: Final[int] = lib.KMS_DATA_KEY
NO_CONTEXT: Final = 4
"""Bytes of the canonical encryption context without pairs."""

CMaterial: TypeAlias = Any
"""A key material as C needs it to answer under it."""

_scan, _answer, _forget, _unpack = lib.kms_call_scan, lib.kms_call_answer, lib.kms_call_forget, ffi.unpack


class Scanned(NamedTuple):
    """`identity` is what the request says of its key: KeyId, and for Decrypt the blob's first 55 bytes after it."""

    call: Any
    identity: bytes
    has_context: bool


class _Buffer(threading.local):
    """A kms_call, and where in it identity and answer begin."""

    def __init__(self) -> None:
        call = ffi.new("kms_call *")
        self.parts = (call, ffi.cast("char *", call.identity), ffi.cast("char *", call.answer))


_buffer = _Buffer()


def material(handle: int, prefix: bytes, associated: bytes) -> CMaterial | None:
    """For `answer`: a handle of the keyring, the first 55 bytes of its blobs, and the key's ARN behind its length
    (ciphertext_blob.associated_prefix). None where the ARN is longer than C takes."""
    size = len(associated)
    if size > lib.KMS_MAXIMUM_ARN + 2:
        return None
    made = ffi.new("kms_material *", {"handle": handle, "associated_len": size, "associated": size})
    ffi.memmove(made.prefix, prefix, lib.KMS_PREFIX_SIZE)
    ffi.memmove(made.associated, associated, size)
    return made


def scan(operation: int, raw: bytes, most: int) -> Scanned | None:
    """Reads a request of ENCRYPT or DECRYPT whose plaintext or blob has at most `most` bytes."""
    call, identity, _ = _buffer.parts
    if not _scan(call, operation, raw, len(raw), most):
        return None
    return Scanned(call, _unpack(identity, call.identity_len), call.context_len > NO_CONTEXT)


def answer(operation: int, raw: bytes, under: CMaterial) -> bytes:
    """The serialised response to what this thread has just scanned. Raises as envelope.seal and open_blob do."""
    call, _, place = _buffer.parts
    status = _answer(call, operation, under, raw, len(raw))
    if status:
        raise_for(status)
    answered: bytes = _unpack(place, call.answer_len)
    if operation == DECRYPT:
        _forget(call)
    return answered
