"""Seals and opens ciphertext blobs. Each function is one C call with the GIL released. This is the hot path.

`handle` names a message root in the keyring, `prefix` is the first 55 bytes of its blobs
(ciphertext_blob.header_prefix), `associated` is associated_prefix(ARN) + canonical context.
A plaintext has 1 to 65,536 bytes; its blob has 127 more.

Errors: InvalidCiphertextException, always without a message, if a blob does not open; KeyringLost, StaleHandle,
CryptoFailure.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from kms_grpc.crypto import scratch
from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import CryptoFailure, raise_for

OVERHEAD: int = lib.KMS_BLOB_OVERHEAD
MAXIMUM_PLAINTEXT: int = lib.KMS_MAXIMUM_PLAINTEXT
MAXIMUM_BLOB = MAXIMUM_PLAINTEXT + OVERHEAD

# Looked up once, because an attribute of `lib` costs a tenth of a call.
_seal, _open, _reseal, _data_key = lib.kms_seal, lib.kms_open, lib.kms_reseal, lib.kms_data_key
_cleanse, _unpack, _NULL, _new = lib.kms_cleanse, ffi.unpack, ffi.NULL, ffi.new
_take, _give_back, _wipe_and_give_back = scratch.take, scratch.give_back, scratch.wipe_and_give_back
_pop, _push = scratch.idle.pop, scratch.idle.append


def seal(handle: int, prefix: bytes, associated: bytes, plaintext: bytes) -> bytes:
    """Returns the blob of a plaintext."""
    length = len(plaintext)
    if length > MAXIMUM_PLAINTEXT:
        raise_for(lib.KMS_WRONG_LENGTH)
    size = length + OVERHEAD
    try:
        out = _pop()
    except IndexError:
        out = scratch.new()
    status = _seal(out, size, handle, prefix, len(prefix), associated, len(associated), plaintext, length)
    if status:
        raise_for(status)
    blob: bytes = _unpack(out, size)
    _push(out)
    return blob


def open_blob(handle: int, associated: bytes, blob: bytes) -> bytes:
    """Returns the plaintext of a blob."""
    size = len(blob)
    length = size - OVERHEAD
    if length <= 0 or size > MAXIMUM_BLOB:
        raise_for(lib.KMS_INVALID_CIPHERTEXT)
    try:
        out = _pop()
    except IndexError:
        out = scratch.new()
    status = _open(out, length, handle, associated, len(associated), blob, size)
    if status:
        raise_for(status)
    plaintext: bytes = _unpack(out, length)
    _cleanse(out, length)
    _push(out)
    return plaintext


def reseal(source: int, source_associated: bytes, blob: bytes, handle: int, prefix: bytes, associated: bytes) -> bytes:
    """Opens a blob and seals its plaintext under another key or context. The plaintext stays in C."""
    size = len(blob)
    if not OVERHEAD < size <= MAXIMUM_BLOB:
        raise_for(lib.KMS_INVALID_CIPHERTEXT)
    out = _take()
    target = (handle, prefix, len(prefix), associated, len(associated))
    status = _reseal(out, source, source_associated, len(source_associated), blob, size, *target)
    if status:
        raise_for(status)
    resealed: bytes = _unpack(out, size)
    _give_back(out)
    return resealed


def data_key(handle: int, prefix: bytes, associated: bytes, number_of_bytes: int) -> tuple[bytes, bytes]:
    """Draws a data key. Returns it and its blob."""
    _require_size(number_of_bytes)
    plaintext = _take()
    try:
        blob = _sealed_data_key(plaintext, handle, prefix, associated, number_of_bytes)
        return _unpack(plaintext, number_of_bytes), blob
    finally:
        _wipe_and_give_back(plaintext, number_of_bytes)


def data_key_without_plaintext(handle: int, prefix: bytes, associated: bytes, number_of_bytes: int) -> bytes:
    """Draws a data key and returns its blob. The plaintext never leaves C."""
    _require_size(number_of_bytes)
    return _sealed_data_key(_NULL, handle, prefix, associated, number_of_bytes)


def _require_size(number_of_bytes: int) -> None:
    if not 0 < number_of_bytes <= MAXIMUM_PLAINTEXT:
        raise_for(lib.KMS_WRONG_LENGTH)


def _sealed_data_key(plaintext: Any, handle: int, prefix: bytes, associated: bytes, number_of_bytes: int) -> bytes:
    size = number_of_bytes + OVERHEAD
    out = _take()
    target = (handle, prefix, len(prefix), associated, len(associated))
    status = _data_key(plaintext, number_of_bytes, out, size, *target)
    if status:
        raise_for(status)
    blob: bytes = _unpack(out, size)
    _give_back(out)
    return blob


def random_bytes(n: int) -> bytes:
    """Draws n bytes, 1 to 65,536, fresh from the kernel and the processor."""
    _require_size(n)
    out = _take()
    status = lib.kms_random(out, n)
    if status:
        raise_for(status)
    drawn: bytes = _unpack(out, n)
    _wipe_and_give_back(out, n)
    return drawn


# --- many at once --------------------------------------------------------------------------------------------------


def seal_many(handle: int, prefix: bytes, associated: bytes, plaintexts: Sequence[bytes]) -> list[bytes]:
    """Returns the blobs of many plaintexts under one key and one context, in order. Seals all or none."""
    lengths = [len(plaintext) for plaintext in plaintexts]
    sizes = [length + OVERHEAD for length in lengths]
    out = _new("uint8_t[]", sum(sizes) or 1)
    head = (handle, prefix, len(prefix), associated, len(associated))
    status = lib.kms_seal_many(out, sum(sizes), *head, b"".join(plaintexts), _u32s(lengths), len(lengths))
    if status:
        raise_for(status)
    return _cut(out, sizes)


def open_many(handle: int, associated: bytes, blobs: Sequence[bytes]) -> list[bytes | None]:
    """Returns the plaintexts of many blobs of one key and one context, in order; None for a blob that does not open."""
    whole = [OVERHEAD < len(blob) <= MAXIMUM_BLOB for blob in blobs]
    fitting = [blob for blob, fits in zip(blobs, whole, strict=True) if fits]
    opened = iter(_open_fitting(handle, associated, fitting))
    return [next(opened) if fits else None for fits in whole]


def _open_fitting(handle: int, associated: bytes, blobs: list[bytes]) -> list[bytes | None]:
    sizes = [len(blob) for blob in blobs]
    lengths = [size - OVERHEAD for size in sizes]
    total = sum(lengths)
    out, statuses = _new("uint8_t[]", total or 1), _new("uint8_t[]", len(blobs) or 1)
    tail = (handle, associated, len(associated), b"".join(blobs), _u32s(sizes), len(blobs))
    status = lib.kms_open_many(out, total, statuses, *tail)
    if status:
        raise_for(status)
    plaintexts = _cut(out, lengths)
    _cleanse(out, total)
    return [text if statuses[i] == lib.KMS_OK else None for i, text in enumerate(plaintexts)]


def _u32s(values: list[int]) -> Any:
    numbers = array("I", values)
    if numbers.itemsize != 4:
        raise CryptoFailure("unsigned int does not have 32 bits on this platform")
    return ffi.from_buffer("uint32_t[]", numbers)


def _cut(out: Any, sizes: list[int]) -> list[bytes]:
    view = memoryview(ffi.buffer(out))
    return [bytes(view[start:end]) for start, end in pairwise(accumulate(sizes, initial=0))]
