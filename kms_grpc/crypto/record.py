"""Records of the client library, version 1. The client's process seals and opens them, one C call each.

native/record.c draws the format. `context` is the canonical form of the encryption context
(encryption_context.canonical), at most 8 KiB. A plaintext is `bytes`, 0 to 2^30 of them; a record has 235 more.

Errors: InvalidCiphertextException, always without a message, if a record does not open; KeyringLost, StaleHandle,
KeyringFull, CryptoFailure.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
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

# Looked up once, because an attribute of `lib` costs a tenth of a call.
_seal, _open = lib.kms_record_seal, lib.kms_record_open
_evict = lib.kms_keyring_evict

seal_within: Final[Callable[[int, float, bytes, bytes], bytes | int]] = with_the_gil(
    "kms_seal_function", ctypes.py_object
)()
"""seal_within(key.address, now, context, plaintext) takes one record from the key's budget, within the bounds of
`DataKeyBudget.allow`, and returns the record. If that fails, it returns a status for `why_not`. `now` is the time by
the budget's clock, in seconds. It is a built-in function, because a call by cffi would add a third to its time."""

open_within: Final[Callable[[Mapping[bytes, tuple[int, DataKey]], float, bytes, bytes], bytes | int]] = with_the_gil(
    "kms_open_function", ctypes.py_object
)()
"""open_within(cached, now, context, record) finds the record's data key in the dict `cached`, by wrapped data key +
context, takes one record from its budget like `seal_within`, and returns the plaintext. If that fails, it returns a
status for `why_not`. Each value of `cached` is a data key's address and the data key."""


opener_of: Final[
    Callable[[Mapping[bytes, tuple[int, DataKey]], bytes, Callable[[], float]], Callable[[bytes], bytes | int]]
] = with_the_gil("kms_opener_function", ctypes.py_object)()
"""opener_of(cached, context, clock) returns a function of one record that does what `open_within` does, for many
records of one context: it is faster where a record has the same data key as the one before."""


class DataKey:
    """A data key in the keyring, its ciphertext blob, and its budget. The slot is freed with the last reference."""

    __slots__ = ("handle", "wrapped", "budget", "address", "_evict")

    def __init__(self, data_key: bytes, wrapped: bytes) -> None:
        """`data_key` has 32 bytes and its blob `wrapped` 159; raises CryptoFailure otherwise.

        The caller should drop its reference to `data_key`. The budget grants nothing before `budget.begin`.
        """
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
            self._evict(self.handle)  # the status is ignored: the handle may be stale, or the keyring wiped by a fork


def wrapped_key_of(record: bytes) -> bytes:
    """Returns the blob of a record's data key. Raises InvalidCiphertextException if `record` is not a record."""
    status = lib.kms_record_check(record, len(record))
    if status:
        raise_for(status)
    return record[WRAPPED_AT:WRAPPED_END]


def wrapped_keys_of(records: Sequence[bytes]) -> list[bytes | None]:
    """Returns the blobs of many records' data keys; None for each that is not a record."""
    return [
        one[WRAPPED_AT:WRAPPED_END] if one[:WRAPPED_AT] == _START and len(one) >= OVERHEAD else None for one in records
    ]


# --- one record: C writes into new bytes, as in new_bytes.py; bytes(n) makes them fastest here -----------------------


def seal(key: DataKey, context: bytes, plaintext: bytes) -> bytes:
    """Returns the record of a plaintext. Does not look at the key's budget: the caller has taken the record from it."""
    length = len(plaintext)
    size = length + OVERHEAD
    record = bytes(size)
    status = _seal(record, size, key.handle, key.wrapped, _WRAPPED_SIZE, context, len(context), plaintext, length)
    if status:
        raise_for(status)
    return record


def why_not(status: int) -> None:
    """Returns if `seal_within` or `open_within` gave this status because there is no data key or budget for the record;
    else raises the status's exception."""
    if status != lib.KMS_USED_UP:
        raise_for(status)


def open_record(key: DataKey, context: bytes, record: bytes) -> bytes:
    """Returns the plaintext of a record under this data key."""
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
    """Returns the records of many plaintexts under one data key and one context, in order. One C call seals all or
    none.

    Does not look at the key's budget: the caller has taken the records from it.
    """
    records, places = plaintexts.new(OVERHEAD)
    head = (key.handle, key.wrapped, _WRAPPED_SIZE, context, len(context))
    status = lib.kms_record_seal_many(places, *head, *plaintexts.in_c)
    if status:
        raise_for(status)
    return records


def open_many(keys: Sequence[DataKey], context: bytes, records: Sequence[bytes]) -> list[bytes | None]:
    """Returns the plaintexts of many records, in order, by one C call; None for a record that does not open.

    `keys[i]` is the key of `records[i]`. All must have passed `wrapped_key_of` or `wrapped_keys_of`.
    """
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
