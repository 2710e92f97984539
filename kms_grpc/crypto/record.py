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

import ctypes
from collections.abc import Callable, Sequence
from typing import Final

from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.bytes_lists import BytesList, numbers, with_the_gil
from kms_grpc.crypto.data_key_budget import DataKeyBudget
from kms_grpc.crypto.errors import raise_for

OVERHEAD: Final[int] = lib.KMS_RECORD_OVERHEAD
MAXIMUM_PLAINTEXT: Final[int] = lib.KMS_MAXIMUM_RECORD_PLAINTEXT
WRAPPED_AT: Final = 4
_WRAPPED_SIZE: Final[int] = lib.KMS_WRAPPED_DATA_KEY_SIZE
_START: Final = b"\x81\1" + _WRAPPED_SIZE.to_bytes(2, "big")
WRAPPED_END: Final[int] = lib.KMS_RECORD_PREFIX_SIZE

# Looked up once: attributes of `lib` cost as much as a tenth of a call.
_seal, _open = lib.kms_record_seal, lib.kms_record_open
_evict = lib.kms_keyring_evict

seal_within: Final[Callable[[int, float, bytes, bytes], bytes | int]] = with_the_gil(
    "kms_seal_function", ctypes.py_object
)()
"""seal_within(key.address, now, context, plaintext): a record where the key's `uses` allow one more without asking, and
taken from them. Else the status that says why not, for `why_not`. `now`: seconds by the clock of `uses`. A built-in
function, because a call by cffi takes as long as a third of the rest."""


class DataKey:
    """A data key in the keyring, the blob that wraps it, and what it may still be used for. The slot is given back with
    the last reference."""

    __slots__ = ("handle", "wrapped", "budget", "address", "_evict")

    def __init__(self, data_key: bytes, wrapped: bytes) -> None:
        """`data_key` has 32 bytes, and its blob 159: else CryptoFailure. Let go of `data_key` after this. Its `uses`
        allow nothing before they begin."""
        self._evict = _evict
        self.handle = 0
        if len(wrapped) != _WRAPPED_SIZE:
            raise_for(lib.KMS_WRONG_LENGTH)
        handle = ffi.new("uint64_t *")
        status = lib.kms_record_key_import(handle, data_key, len(data_key))
        if status:
            raise_for(status)
        self.handle = int(handle[0])
        self.wrapped = wrapped
        in_c = ffi.new("kms_data_key_t *", {"key": self.handle})
        ffi.memmove(in_c.wrapped, wrapped, len(wrapped))
        self.budget = DataKeyBudget(in_c)
        self.address = int(ffi.cast("uintptr_t", in_c))

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


# --- one record: C writes into bytes that nobody else has seen yet (new_bytes.py), made in the way that is fastest here


def seal(key: DataKey, context: bytes, plaintext: bytes) -> bytes:
    """A record of the plaintext, whatever the key's `uses` say: the caller took from them before."""
    length = len(plaintext)
    size = length + OVERHEAD
    record = bytes(size)
    status = _seal(record, size, key.handle, key.wrapped, _WRAPPED_SIZE, context, len(context), plaintext, length)
    if status:
        raise_for(status)
    return record


def why_not(status: int) -> None:
    """Why `seal_within` gave no record: returns where the key's `uses` do not allow it, else raises."""
    if status != lib.KMS_USED_UP:
        raise_for(status)


def open_record(key: DataKey, context: bytes, record: bytes) -> bytes:
    """The plaintext of a record under this data key."""
    size = len(record)
    length = size - OVERHEAD
    if length < 0:
        raise_for(lib.KMS_INVALID_CIPHERTEXT)
    plaintext = bytes(length)
    status = _open(plaintext, length, key.handle, context, len(context), record, size)
    if status:
        raise_for(status)
    return plaintext


# --- many at once --------------------------------------------------------------------------------------------------


def seal_many(key: DataKey, context: bytes, plaintexts: BytesList) -> list[bytes]:
    """Records of many plaintexts under one data key and one context, in their order. All or none; one C call. Whatever
    the key's `uses` say: the caller took from them before."""
    records, places = plaintexts.new(OVERHEAD)
    head = (key.handle, key.wrapped, _WRAPPED_SIZE, context, len(context))
    status = lib.kms_record_seal_many(places, *head, *plaintexts.in_c)
    if status:
        raise_for(status)
    return records


def open_many(keys: Sequence[DataKey], context: bytes, records: Sequence[bytes]) -> list[bytes | None]:
    """Plaintexts of many records, each under its own of `keys`, in their order; None for each that doesn't open. One C
    call. All must be records by version and length (wrapped_key_of)."""
    sealed = BytesList(records)
    if len(keys) != len(sealed):
        raise_for(lib.KMS_WRONG_LENGTH)
    plaintexts, places = sealed.new(-OVERHEAD)
    statuses, handles = bytearray(len(sealed)), numbers([key.handle for key in keys])
    head = (ffi.from_buffer("uint8_t[]", statuses), ffi.from_buffer("uint64_t[]", handles))
    status = lib.kms_record_open_many(places, *head, context, len(context), *sealed.in_c)
    if status:
        raise_for(status)
    if statuses.count(lib.KMS_OK) == len(statuses):
        return list(plaintexts)
    return [text if status == lib.KMS_OK else None for text, status in zip(plaintexts, statuses, strict=True)]
