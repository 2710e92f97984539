"""The message format of the AWS Encryption SDK: large content in frames, each with its own tag.

This module writes suite 0x0478 (AES-256-GCM, HKDF-SHA-512, key commitment, no signature). It reads 0x0478, 0x0578 (with
an ECDSA P-384 signature over the whole message), and the older suites without key commitment, which callers must allow
explicitly. native/esdk.h draws the format; its source is
https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/message-format.html

Content must be framed, because unframed content would have to be held whole before any of it may be released. A frame
has 1 byte to 1 MiB, a header at most 64 KiB. The key of the frames is in the keyring until `close`.

Errors: InvalidCiphertextException, always without a message, for any wrong byte; KeyringLost, KeyringFull,
CryptoFailure.
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
"""The default length of a frame, in bytes."""
PROVIDER: Final = b"aws-kms"
RESERVED: Final = "aws-crypto-"
"""The prefix of encryption context keys that only the format itself may add."""
COMMITTING: Final = frozenset({0x0478, 0x0578})
FINAL_OVERHEAD: Final = 40
FRAME_OVERHEAD: Final = 32

_BLOB_SIZE = 32 + lib.KMS_BLOB_OVERHEAD
_OPEN, _ENDED = 0, 1
_u16 = Struct(">H")


@dataclass(frozen=True, slots=True)
class EncryptedDataKey:
    """A data key encrypted by one provider. For `aws-kms`, `information` is the key's ARN and `blob` its ciphertext
    blob."""

    provider: bytes
    information: bytes
    blob: bytes


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """The header of a message. Nothing in it is authenticated yet."""

    suite: int
    context: Mapping[str, str]
    data_keys: tuple[EncryptedDataKey, ...]
    frame_length: int
    size: int
    """Length of the header in bytes; the frames follow it."""
    is_signed: bool


def serialized(context: Mapping[str, str]) -> bytes:
    """Returns an encryption context as the header holds it; native/esdk.h draws it.

    Raises UnicodeEncodeError, and struct.error for a text of more than 65,535 bytes.
    """
    if not context:
        return b""
    pairs = sorted((key.encode(), value.encode()) for key, value in context.items())
    fields = [field for pair in pairs for field in pair]
    return _u16.pack(len(pairs)) + b"".join(_u16.pack(len(field)) + field for field in fields)


def read_header(message: bytes) -> MessageHeader | None:
    """Reads the header at the start of these bytes. Returns None if they end before the header does."""
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
        pairs_read = [(key.decode(), value.decode()) for key, value in zip(fields, fields, strict=True)]
    except UnicodeDecodeError:
        raise InvalidCiphertextException from None
    if len(dict(pairs_read)) != len(pairs_read):
        raise InvalidCiphertextException
    return dict(pairs_read)


def _fields(joined: bytes) -> Iterator[bytes]:
    """Yields fields that follow their u16 lengths. The core has checked the lengths."""
    at = 0
    while at < len(joined):
        (length,) = _u16.unpack_from(joined, at)
        yield joined[at + 2 : at + 2 + length]
        at += 2 + length


class _Message:
    """The state of a message in C. Only one thread may use it at a time.

    Views of callers' buffers are released (`with`) before an exception propagates. A view that stays in the reference
    cycle of a traceback crashes CPython, because the garbage collector destroys it in the wrong order.
    """

    def __init__(self, frame_length: int) -> None:
        self._state = ffi.new("kms_esdk_message_t *")
        self._held = ffi.new("uint8_t[]", frame_length + lib.KMS_ESDK_HELD_OVERHEAD)

    def close(self) -> None:
        """Evicts the key of the frames and wipes the held frame. Idempotent."""
        lib.kms_cleanse(self._held, len(self._held))
        if self._state.key:
            evict(self._state.key)
            self._state.key = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MessageWriter(_Message):
    """Encrypts one message, which is its `header` and then the results of `encrypt` in order."""

    def __init__(self, context: Mapping[str, str], key_arn: str, frame_length: int = FRAME_LENGTH) -> None:
        """Prepares a message; `under` or `under_data_key` begins it."""
        super().__init__(frame_length)
        self.header = b""
        self._context, self._arn = serialized(context), key_arn.encode()
        begin = {"context": ffi.from_buffer(self._context), "context_len": len(self._context)}
        begin |= {"provider_info": ffi.from_buffer(self._arn), "provider_info_len": len(self._arn)}
        self._begin = ffi.new("kms_esdk_begin_t *", begin | {"frame_len": frame_length})

    def under(self, handle: int, prefix: bytes, associated: bytes) -> Self:
        """Begins under a new data key, which is sealed as by `envelope.seal` and never leaves C."""
        key = (handle, prefix, len(prefix), associated, len(associated))
        return self._begun(_BLOB_SIZE, lib.kms_esdk_encryption_begin, key)

    def under_data_key(self, data_key: bytes, encrypted: bytes) -> Self:
        """Begins under a given data key of 32 bytes with its encrypted form."""
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
        """Returns how many bytes `encrypt` gives for a part of `length` bytes."""
        return int(lib.kms_esdk_encrypted_len(self._state, length, last))

    def encrypt(self, part: Buffer, last: bool, lead: Lead | None = None) -> bytes:
        """Returns the frames that this part completes, which may be none. The last part ends the message.

        `lead`, if given, returns bytes to put before the frames; its argument is the size of the frames.
        """
        size = self.size_of(len(part), last)
        frames, target = _room(size, lead)
        self._run(target, size, part, last)
        return frames

    def encrypt_into(self, out: bytearray | memoryview, part: Buffer, last: bool) -> int:
        """Writes the frames into the caller's buffer and returns their size. Raises ValueError if it is too small."""
        size = self.size_of(len(part), last)
        if len(out) < size:
            raise ValueError(f"{size} bytes do not fit into a buffer of {len(out)}")
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
    """Decrypts one message: `decrypt` for each part after the header, then `finish`, which checks that it is
    complete."""

    def __init__(self, header: MessageHeader, message: bytes) -> None:
        """Prepares a message; `under` or `under_data_key` begins it. `message` starts with the header."""
        super().__init__(header.frame_length)
        self._header = message[: header.size]
        self.header_size = header.size
        self._signature = MessageSignature(header.suite, header.context) if header.is_signed else None
        self.plaintext_bytes = 0
        """Bytes of plaintext returned so far."""

    def under(self, handle: int, associated: bytes, blob: bytes) -> Self:
        """Begins with the data key in `blob`, which never leaves C."""
        key = (handle, associated, len(associated), blob, len(blob))
        return self._begun(lib.kms_esdk_decryption_begin, key)

    def under_data_key(self, data_key: bytes) -> Self:
        """Begins with a given data key."""
        return self._begun(lib.kms_esdk_decryption_begin_with, (data_key, len(data_key)))

    def _begun(self, begin: Callable[..., int], key: tuple[Any, ...]) -> Self:
        status = begin(self._state, self._header, len(self._header), *key)
        if status:
            raise_for(status)
        if self._signature:
            self._signature.update(self._header)
        return self

    def size_of(self, part: Buffer) -> int:
        """Returns how many bytes `decrypt` gives for this part, provided that no byte is wrong."""
        with ffi.from_buffer("uint8_t[]", part) as read:
            return int(lib.kms_esdk_decrypted_len(self._state, self._held, len(self._held), read, len(part)))

    def decrypt(self, part: Buffer, lead: Lead | None = None) -> bytes:
        """Returns the plaintext of the frames that this part completes. `lead` works as in `MessageWriter.encrypt`."""
        size = self.size_of(part)
        plaintext, target = _room(size, lead)
        self._run(target, size, part)
        return plaintext

    def decrypt_into(self, out: bytearray | memoryview, part: Buffer) -> int:
        """Writes the plaintext into the caller's buffer and returns its size. Raises ValueError if it is too small."""
        size = self.size_of(part)
        if len(out) < size:
            raise ValueError(f"{size} bytes do not fit into a buffer of {len(out)}")
        with ffi.from_buffer("uint8_t[]", out, require_writable=True) as target:
            self._run(target, size, part)
        return size

    @property
    def has_ended(self) -> bool:
        """True once the final frame was read."""
        return bool(self._state.progress == _ENDED)

    def finish(self) -> None:
        """Raises InvalidCiphertextException if the final frame is missing or the signature is wrong."""
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
    """Returns uninitialised bytes that begin with the lead, and the address where C writes the rest."""
    before = lead(size) if lead and size else b""
    made = new_bytes(len(before) + size)
    if before:
        ffi.memmove(in_place(made), before, len(before))
    return made, in_place(made, len(before))
