"""Records of the client library, version 1: sealed and opened on the caller's side, one C call each, GIL released.

    offset   bytes  field
         0       1  format version, 0x81
         1       1  suite, 1: KC-XAES-256-GCM
         2       2  w, the length of the wrapped data key (big-endian): 159
         4       w  the data key's ciphertext blob
       163      24  nonce
       187       n  ciphertext, 0 to 2^30 bytes; then tag 16 and commitment 32

`context` is the encryption context in its canonical form (encryption_context.canonical), at most 8 KiB. Plaintexts are
`bytes`.

Errors: InvalidCiphertextException (always without a text) where a record doesn't open; KeyringLost, StaleHandle,
KeyringFull, CryptoFailure.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

from kms_grpc.crypto import scratch
from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import CryptoFailure, raise_for

OVERHEAD: Final[int] = lib.KMS_RECORD_OVERHEAD
MAXIMUM_PLAINTEXT: Final[int] = lib.KMS_MAXIMUM_RECORD_PLAINTEXT
WRAPPED_AT: Final = 4
_START: Final = b"\x81\1" + int(lib.KMS_WRAPPED_DATA_KEY_SIZE).to_bytes(2, "big")
WRAPPED_END: Final[int] = lib.KMS_RECORD_PREFIX_SIZE

# Looked up once: attributes of `lib` cost as much as a tenth of a call.
_seal, _open, _evict = lib.kms_record_seal, lib.kms_record_open, lib.kms_keyring_evict
_cleanse, _unpack = lib.kms_cleanse, ffi.unpack
_pop, _push = scratch.idle.pop, scratch.idle.append
_CAPACITY: Final = scratch.CAPACITY
_uncleared = ffi.new_allocator(should_clear_after_alloc=False)


class DataKey:
    """A data key in the keyring, and the blob that wraps it. The slot is given back with the last reference."""

    __slots__ = ("handle", "wrapped", "_evict")

    def __init__(self, data_key: bytes, wrapped: bytes) -> None:
        """`data_key` has 32 bytes, and its blob 159: else CryptoFailure. Let go of `data_key` after this."""
        self._evict = _evict
        self.handle = 0
        if len(wrapped) != lib.KMS_WRAPPED_DATA_KEY_SIZE:
            raise_for(lib.KMS_WRONG_LENGTH)
        handle = ffi.new("uint64_t *")
        status = lib.kms_record_key_import(handle, data_key, len(data_key))
        if status:
            raise_for(status)
        self.handle = int(handle[0])
        self.wrapped = wrapped

    def __del__(self) -> None:
        if self.handle:
            self._evict(self.handle)  # a handle that is stale, or of a keyring that a fork wiped, is no matter


def wrapped_key_of(record: bytes) -> bytes:
    """The blob of the data key that a record is under. InvalidCiphertextException where it isn't a record."""
    status = lib.kms_record_check(record, len(record))
    if status:
        raise_for(status)
    return record[WRAPPED_AT:WRAPPED_END]


def wrapped_keys_of(records: Sequence[bytes]) -> list[bytes | None]:
    """The same of many; None where one isn't a record."""
    return [
        one[WRAPPED_AT:WRAPPED_END] if one[:WRAPPED_AT] == _START and len(one) >= OVERHEAD else None for one in records
    ]


def seal(key: DataKey, context: bytes, plaintext: bytes) -> bytes:
    """A record of the plaintext."""
    length = len(plaintext)
    size = length + OVERHEAD
    if size > _CAPACITY:
        return _seal_large(key, context, plaintext)
    try:
        out = _pop()
    except IndexError:
        out = scratch.new()
    wrapped = key.wrapped
    status = _seal(out, size, key.handle, wrapped, len(wrapped), context, len(context), plaintext, length)
    if status:
        raise_for(status)
    record: bytes = _unpack(out, size)
    _push(out)
    return record


def _seal_large(key: DataKey, context: bytes, plaintext: bytes) -> bytes:
    size = len(plaintext) + OVERHEAD
    if size > MAXIMUM_PLAINTEXT + OVERHEAD:
        raise_for(lib.KMS_WRONG_LENGTH)
    out = _uncleared("char[]", size)
    head = (key.handle, key.wrapped, len(key.wrapped), context, len(context))
    status = _seal(out, size, *head, plaintext, len(plaintext))
    if status:
        raise_for(status)
    record: bytes = _unpack(out, size)
    return record


def open_record(key: DataKey, context: bytes, record: bytes) -> bytes:
    """The plaintext of a record under this data key."""
    size = len(record)
    length = size - OVERHEAD
    if length < 0 or length > MAXIMUM_PLAINTEXT:
        raise_for(lib.KMS_INVALID_CIPHERTEXT)
    if length > _CAPACITY:
        return _open_large(key, context, record)
    try:
        out = _pop()
    except IndexError:
        out = scratch.new()
    status = _open(out, length, key.handle, context, len(context), record, size)
    if status:
        raise_for(status)
    plaintext: bytes = _unpack(out, length)
    _cleanse(out, length)
    _push(out)
    return plaintext


def _open_large(key: DataKey, context: bytes, record: bytes) -> bytes:
    length = len(record) - OVERHEAD
    out = _uncleared("char[]", length)
    status = _open(out, length, key.handle, context, len(context), record, len(record))
    if status:
        raise_for(status)
    plaintext: bytes = _unpack(out, length)
    _cleanse(out, length)
    return plaintext


# --- many at once --------------------------------------------------------------------------------------------------


def seal_many(key: DataKey, context: bytes, plaintexts: Sequence[bytes]) -> list[bytes]:
    """Records of many plaintexts under one data key and one context, in their order. All or none; one C call."""
    lengths = list(map(len, plaintexts))
    sizes = [length + OVERHEAD for length in lengths]
    total = sum(sizes)
    if max(lengths, default=0) > MAXIMUM_PLAINTEXT:
        raise_for(lib.KMS_WRONG_LENGTH)
    out = _uncleared("char[]", total or 1)
    head = (key.handle, key.wrapped, len(key.wrapped), context, len(context))
    status = lib.kms_record_seal_many(out, total, *head, b"".join(plaintexts), _numbers("I", lengths), len(lengths))
    if status:
        raise_for(status)
    return _cut(out, sizes)


def open_many(keys: Sequence[DataKey], context: bytes, records: Sequence[bytes]) -> list[bytes | None]:
    """Plaintexts of many records, each under its own of `keys`, in their order; None for each that doesn't open. One C
    call. All must be records by version and length (wrapped_key_of)."""
    sizes = list(map(len, records))
    lengths = [size - OVERHEAD for size in sizes]
    if min(lengths, default=0) < 0 or max(lengths, default=0) > MAXIMUM_PLAINTEXT or len(keys) != len(records):
        raise_for(lib.KMS_WRONG_LENGTH)
    total = sum(lengths)
    out, statuses = _uncleared("char[]", total or 1), ffi.new("uint8_t[]", len(records) or 1)
    handles = _numbers("Q", [key.handle for key in keys])
    tail = (handles, context, len(context), b"".join(records), _numbers("I", sizes), len(records))
    status = lib.kms_record_open_many(out, total, statuses, *tail)
    if status:
        raise_for(status)
    plaintexts = _cut(out, lengths)
    _cleanse(out, total)
    return [text if statuses[i] == lib.KMS_OK else None for i, text in enumerate(plaintexts)]


_TYPES: Final = {"I": "uint32_t[]", "Q": "uint64_t[]"}


def _numbers(code: str, values: list[int]) -> Any:
    numbers = array(code, values)
    if numbers.itemsize != {"I": 4, "Q": 8}[code]:
        raise CryptoFailure(f"array({code!r}) has another size here")
    return ffi.from_buffer(_TYPES[code], numbers)


def _cut(out: Any, sizes: list[int]) -> list[bytes]:
    view = memoryview(ffi.buffer(out))
    return [bytes(view[start:end]) for start, end in pairwise(accumulate(sizes, initial=0))]
