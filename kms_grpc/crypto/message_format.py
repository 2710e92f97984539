"""The message format of the AWS Encryption SDK: large content in frames, each of them verified by itself.

Written is suite 0x0478 (AES-256-GCM, HKDF-SHA-512, key commitment, no signature). Read are that one, 0x0578 (the same
with ECDSA P-384 over the whole message), and, for who asks for them, the older suites that do not commit to their key.
The bytes are drawn as offsets in native/esdk.h; the source is
https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/message-format.html

Contents are framed (a single block would have to be held whole before any of it may be given out); a frame has 1 byte
to 1 MiB, a header at most 64 KiB. The key of the frames lies in the keyring until `close`.

Errors: InvalidCiphertextException (always without a text) for whatever is not as it was written; KeyringLost,
KeyringFull, CryptoFailure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, Self

from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import raise_for
from kms_grpc.crypto.keyring import evict
from kms_grpc.crypto.message_signature import MessageSignature
from kms_grpc.crypto.new_bytes import in_place, new_bytes
from kms_grpc.errors import InvalidCiphertextException

Buffer = bytes | bytearray | memoryview
Lead = Callable[[int], bytes]

MAXIMUM_HEADER: Final[int] = lib.KMS_ESDK_MAXIMUM_HEADER
MAXIMUM_FRAME: Final[int] = lib.KMS_ESDK_MAXIMUM_FRAME
FRAME_LENGTH: Final = 64 * 1024
"""Of messages whose writer asks for nothing else."""
PROVIDER: Final = b"aws-kms"
RESERVED: Final = "aws-crypto-"
"""Encryption contexts hold no keys that begin so, but what the format itself puts there."""
COMMITTING: Final = frozenset({0x0478, 0x0578})
FINAL_OVERHEAD: Final = 40
FRAME_OVERHEAD: Final = 32

_BLOB_SIZE = 32 + lib.KMS_BLOB_OVERHEAD
_OPEN, _ENDED = 0, 1
_u16 = Struct(">H")


@dataclass(frozen=True, slots=True)
class EncryptedDataKey:
    """A data key as one provider wrapped it: for `aws-kms` the information is the key's ARN, the bytes its blob."""

    provider: bytes
    information: bytes
    blob: bytes


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """What a message says about itself, before anything of it is verified."""

    suite: int
    context: Mapping[str, str]
    data_keys: tuple[EncryptedDataKey, ...]
    frame_length: int
    size: int
    """Bytes of the header; the frames come after."""
    is_signed: bool


def serialized(context: Mapping[str, str]) -> bytes:
    """The encryption context as the header holds it: u16 count, then u16 length and bytes of each key and value, in
    the order of the keys' bytes; nothing where it is empty. UnicodeEncodeError, struct.error (over 65,535 bytes)."""
    if not context:
        return b""
    pairs = sorted((key.encode(), value.encode()) for key, value in context.items())
    fields = [field for pair in pairs for field in pair]
    return _u16.pack(len(pairs)) + b"".join(_u16.pack(len(field)) + field for field in fields)


def read_header(message: bytes) -> MessageHeader | None:
    """The header that these bytes begin with; None where they end before it does."""
    read = ffi.new("kms_esdk_header_t *")
    status = lib.kms_esdk_header_read(read, message, len(message))
    if status == lib.KMS_INCOMPLETE:
        return None
    if status:
        raise_for(status)
    context = _context(message[read.context_at : read.context_at + read.context_len])
    fields = _fields(message[read.data_keys_at : read.data_keys_at + read.data_keys_len])
    data_keys = tuple(EncryptedDataKey(*three) for three in zip(fields, fields, fields, strict=True))
    return MessageHeader(read.suite, context, data_keys, read.frame_len, read.header_len, bool(read.is_signed))


def _context(pairs: bytes) -> dict[str, str]:
    fields = _fields(pairs[2:])
    try:
        told = [(key.decode(), value.decode()) for key, value in zip(fields, fields, strict=True)]
    except UnicodeDecodeError:
        raise InvalidCiphertextException from None
    if len(dict(told)) != len(told):
        raise InvalidCiphertextException
    return dict(told)


def _fields(joined: bytes) -> Iterator[bytes]:
    """Bytes with their u16 lengths: the core has seen that they fit."""
    at = 0
    while at < len(joined):
        (length,) = _u16.unpack_from(joined, at)
        yield joined[at + 2 : at + 2 + length]
        at += 2 + length


class _Message:
    """A message on its way, in C. One thread at a time.

    Views of callers' buffers are given back (`with`) before an exception leaves: one that stays in a traceback's circle
    is torn down by the collector of garbage in an order that crashes CPython."""

    def __init__(self, frame_length: int) -> None:
        self._state = ffi.new("kms_esdk_message_t *")
        self._held = ffi.new("uint8_t[]", frame_length + lib.KMS_ESDK_HELD_OVERHEAD)

    def close(self) -> None:
        """The key of the frames and the frame that waits are gone. Idempotent."""
        lib.kms_cleanse(self._held, len(self._held))
        if self._state.key:
            evict(self._state.key)
            self._state.key = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MessageWriter(_Message):
    """Encrypts one message: its `header`, then what `encrypt` gives for each part, in order."""

    def __init__(self, context: Mapping[str, str], key_arn: str, frame_length: int = FRAME_LENGTH) -> None:
        """For `under` and `under_data_key`, which begin the message."""
        super().__init__(frame_length)
        self.header = b""
        self._context, self._arn = serialized(context), key_arn.encode()
        begin = {"context": ffi.from_buffer(self._context), "context_len": len(self._context)}
        begin |= {"provider_info": ffi.from_buffer(self._arn), "provider_info_len": len(self._arn)}
        self._begin = ffi.new("kms_esdk_begin_t *", begin | {"frame_len": frame_length})

    def under(self, handle: int, prefix: bytes, associated: bytes) -> Self:
        """Under a fresh data key, sealed as `envelope.seal` does; it never leaves C."""
        key = (handle, prefix, len(prefix), associated, len(associated))
        return self._begun(_BLOB_SIZE, lib.kms_esdk_encryption_begin, key)

    def under_data_key(self, data_key: bytes, encrypted: bytes) -> Self:
        """Under a data key of 32 bytes that the caller has, and its encrypted form."""
        key = (data_key, len(data_key), encrypted, len(encrypted))
        return self._begun(len(encrypted), lib.kms_esdk_encryption_begin_with, key)

    def _begun(self, encrypted_size: int, begin: Callable[..., int], key: tuple[Any, ...]) -> Self:
        size = lib.KMS_ESDK_HEADER_OVERHEAD + len(self._context) + len(self._arn) + encrypted_size
        header = ffi.new("uint8_t[]", size)
        status = begin(header, size, self._state, *key, self._begin)
        if status:
            raise_for(status)
        self.header = bytes(ffi.buffer(header))
        return self

    def size_of(self, length: int, last: bool) -> int:
        """Bytes that `encrypt` gives for a part of so many."""
        return int(lib.kms_esdk_encrypted_len(self._state, length, last))

    def encrypt(self, part: Buffer, last: bool, lead: Lead | None = None) -> bytes:
        """The frames that this part makes whole, empty where there are none; the last part ends the message. `lead`
        gives what stands before them, made of their size."""
        size = self.size_of(len(part), last)
        frames, target = _room(size, lead)
        self._run(target, size, part, last)
        return frames

    def encrypt_into(self, out: bytearray | memoryview, part: Buffer, last: bool) -> int:
        """The same into the caller's buffer; how many bytes were written. ValueError where it is too small."""
        size = self.size_of(len(part), last)
        if len(out) < size:
            raise ValueError(f"{size} bytes don't fit in {len(out)}")
        with ffi.from_buffer("uint8_t[]", out, require_writable=True) as target:
            self._run(target, size, part, last)
        return size

    def _run(self, out: Any, size: int, part: Buffer, last: bool) -> None:
        held = self._held, len(self._held)
        with ffi.from_buffer("uint8_t[]", part) as read:
            status = lib.kms_esdk_encrypt(out, size, self._state, *held, read, len(part), last)
        if status:
            raise_for(status)


class MessageReader(_Message):
    """Decrypts one message: what `decrypt` gives for each part behind the header, then `finish`, which alone says that
    the message is whole."""

    def __init__(self, header: MessageHeader, message: bytes) -> None:
        """For `under` and `under_data_key`. `message` begins with the header."""
        super().__init__(header.frame_length)
        self._header = message[: header.size]
        self.header_size = header.size
        self._signature = MessageSignature(header.suite, header.context) if header.is_signed else None
        self.plaintext_bytes = 0
        """Given so far."""

    def under(self, handle: int, associated: bytes, blob: bytes) -> Self:
        """With the data key that `blob` holds; it never leaves C."""
        key = (handle, associated, len(associated), blob, len(blob))
        return self._begun(lib.kms_esdk_decryption_begin, key)

    def under_data_key(self, data_key: bytes) -> Self:
        """With a data key that the caller has."""
        return self._begun(lib.kms_esdk_decryption_begin_with, (data_key, len(data_key)))

    def _begun(self, begin: Callable[..., int], key: tuple[Any, ...]) -> Self:
        status = begin(self._state, self._header, len(self._header), *key)
        if status:
            raise_for(status)
        if self._signature:
            self._signature.update(self._header)
        return self

    def size_of(self, part: Buffer) -> int:
        """Bytes that `decrypt` gives for this part, if all of it is as it was written."""
        with ffi.from_buffer("uint8_t[]", part) as read:
            return int(lib.kms_esdk_decrypted_len(self._state, self._held, len(self._held), read, len(part)))

    def decrypt(self, part: Buffer, lead: Lead | None = None) -> bytes:
        """The plaintext of the frames that this part makes whole, empty where there are none. `lead`: as in
        `MessageWriter.encrypt`."""
        size = self.size_of(part)
        plaintext, target = _room(size, lead)
        self._run(target, size, part)
        return plaintext

    def decrypt_into(self, out: bytearray | memoryview, part: Buffer) -> int:
        """The same into the caller's buffer; how many bytes were written. ValueError where it is too small."""
        size = self.size_of(part)
        if len(out) < size:
            raise ValueError(f"{size} bytes don't fit in {len(out)}")
        with ffi.from_buffer("uint8_t[]", out, require_writable=True) as target:
            self._run(target, size, part)
        return size

    @property
    def has_ended(self) -> bool:
        """Whether the final frame has come."""
        return bool(self._state.progress == _ENDED)

    def finish(self) -> None:
        """InvalidCiphertextException where the final frame has not come, or the signature is not of this message."""
        if not self.has_ended:
            raise InvalidCiphertextException
        if self._signature:
            self._signature.verify(bytes(ffi.buffer(self._held)[: self._state.held_len]))

    def _run(self, out: Any, size: int, part: Buffer) -> None:
        state, held = self._state, (self._held, len(self._held))
        was_open = state.progress == _OPEN
        with ffi.from_buffer("uint8_t[]", part) as read:
            status = lib.kms_esdk_decrypt(out, size, state, *held, read, len(part))
        if status:
            raise_for(status)
        if self._signature and was_open:
            footer = state.held_len if state.progress == _ENDED else 0
            self._signature.update(memoryview(part)[: len(part) - footer])
        self.plaintext_bytes += size


def _room(size: int, lead: Lead | None) -> tuple[bytes, Any]:
    """Bytes for an answer, its lead written, and where C writes the rest."""
    before = lead(size) if lead and size else b""
    made = new_bytes(len(before) + size)
    if before:
        ffi.memmove(in_place(made), before, len(before))
    return made, in_place(made, len(before))
