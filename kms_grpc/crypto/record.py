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
from functools import lru_cache
from struct import Struct
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
_HEADER: Final[int] = lib.KMS_RECORD_HEADER_SIZE
_BETWEEN: Final = f"{OVERHEAD}x"
"""What lies between two plaintexts: a trailer, and the next one's header."""
_REMEMBERED: Final = 4096
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


def seal_many(
    key: DataKey, context: bytes, plaintexts: Sequence[bytes], lengths: Sequence[int] | None = None
) -> list[bytes]:
    """Records of many plaintexts under one data key and one context, in their order. All or none; one C call.
    `lengths`: theirs, where they are known."""
    lengths = list(map(len, plaintexts)) if lengths is None else lengths
    count = len(lengths)
    if max(lengths, default=0) > MAXIMUM_PLAINTEXT:
        raise_for(lib.KMS_WRONG_LENGTH)
    inside, whole = _layouts(lengths)
    out = _buffer(whole.size)
    inside.pack_into(ffi.buffer(out), 0, *plaintexts)
    head = (key.handle, key.wrapped, len(key.wrapped), context, len(context))
    status = lib.kms_record_seal_many(out, whole.size, *head, _numbers("I", lengths), count)
    if status:
        raise_for(status)
    return list(whole.unpack_from(ffi.buffer(out)))


def open_many(keys: Sequence[DataKey], context: bytes, records: Sequence[bytes]) -> list[bytes | None]:
    """Plaintexts of many records, each under its own of `keys`, in their order; None for each that doesn't open. One C
    call. All must be records by version and length (wrapped_key_of)."""
    sizes = list(map(len, records))
    lengths = [size - OVERHEAD for size in sizes]
    if min(lengths, default=0) < 0 or max(lengths, default=0) > MAXIMUM_PLAINTEXT or len(keys) != len(records):
        raise_for(lib.KMS_WRONG_LENGTH)
    total = sum(lengths)
    out, statuses = _buffer(total), ffi.new("uint8_t[]", len(records) or 1)
    handles = _numbers("Q", [key.handle for key in keys])
    tail = (handles, context, len(context), b"".join(records), _numbers("I", sizes), len(records))
    status = lib.kms_record_open_many(out, total, statuses, *tail)
    if status:
        raise_for(status)
    plaintexts = Struct("=" + _pieces(lengths, "s")).unpack_from(ffi.buffer(out))
    _cleanse(out, total)
    if not any(ffi.buffer(statuses)):
        return list(plaintexts)
    return [text if statuses[i] == lib.KMS_OK else None for i, text in enumerate(plaintexts)]


def _buffer(size: int) -> Any:
    """Twice as large as it must be, in memory that is never touched: glibc keeps freed memory for the next call up to
    twice the largest block that was ever freed, and what a call makes is freed as well some day."""
    return _uncleared("char[]", 2 * size or 1)


def _layouts(lengths: Sequence[int]) -> tuple[Struct, Struct]:
    """Where plaintexts are put, and where their records are taken from: of all in one step of Python each."""
    if len(lengths) <= _REMEMBERED and len(set(lengths)) == 1:
        return _even_layouts(lengths[0], len(lengths))
    return _inside(_pieces(lengths, f"s{_BETWEEN}")), Struct("=" + _pieces([n + OVERHEAD for n in lengths], "s"))


@lru_cache(64)
def _even_layouts(length: int, count: int) -> tuple[Struct, Struct]:
    return _inside(f"{length}s{_BETWEEN}" * count), Struct("=" + f"{length + OVERHEAD}s" * count)


def _inside(pieces: str) -> Struct:
    return Struct(f"={_HEADER}x{pieces.removesuffix(_BETWEEN)}{OVERHEAD - _HEADER}x" if pieces else "=")


def _pieces(lengths: Sequence[int], after: str) -> str:
    return "".join([f"{length}{after}" for length in lengths])


_TYPES: Final = {"I": "uint32_t[]", "Q": "uint64_t[]"}


def _numbers(code: str, values: Sequence[int]) -> Any:
    numbers = array(code, values)
    if numbers.itemsize != {"I": 4, "Q": 8}[code]:
        raise CryptoFailure(f"array({code!r}) has another size here")
    return ffi.from_buffer(_TYPES[code], numbers)
