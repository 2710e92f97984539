"""MessageClient: encrypts and decrypts whole messages of the AWS Encryption SDK in this process, in the C core.

    with KeyManagementClient() as kms:
        messages = MessageClient(kms)
        message = messages.encrypt("alias/films", film, {"app": "shop"})
        assert messages.decrypt(message) == film

Each message has its own data key: `encrypt` calls GenerateDataKey once, and `decrypt` calls Decrypt once. The service
sees the key and the encryption context, never the content. For content that does not fit into memory, use StreamClient.
"""

from __future__ import annotations

from kms_grpc.client.arguments import Context
from kms_grpc.client.data_key_requests import DataKeyOperations
from kms_grpc.crypto.keyring import open_keyring
from kms_grpc.crypto.message_format import (
    COMMITTING,
    FRAME_LENGTH,
    PROVIDER,
    Buffer,
    MessageHeader,
    MessageReader,
    MessageWriter,
    read_header,
)
from kms_grpc.errors import InvalidCiphertextException

SLOTS = 4_096
"""Slots of this process's keyring, if this client is the first to open it."""


class MessageClient:
    """A client for messages that fit into memory. Threads may share it.

    It writes suite 0x0478, and reads 0x0478 and 0x0578. Methods raise the errors of GenerateDataKey and Decrypt, and
    InvalidCiphertextException for a message that is incomplete, was changed, or has another suite.
    """

    def __init__(self, kms: DataKeyOperations) -> None:
        self._kms = kms
        open_keyring(SLOTS)

    def encrypt(
        self,
        key_id: str,
        plaintext: Buffer,
        encryption_context: Context | None = None,
        frame_length: int = FRAME_LENGTH,
    ) -> bytes:
        """Returns the message. `frame_length`: 1 to 1,048,576 bytes."""
        with self._writer(key_id, encryption_context, frame_length) as writer:
            return writer.encrypt(plaintext, last=True, lead=lambda _: writer.header)

    def encrypt_into(
        self,
        out: bytearray | memoryview,
        key_id: str,
        plaintext: Buffer,
        encryption_context: Context | None = None,
        frame_length: int = FRAME_LENGTH,
    ) -> int:
        """Writes the message into `out` and returns its size. Raises ValueError if `out` is too small."""
        with self._writer(key_id, encryption_context, frame_length) as writer:
            start = len(writer.header)
            size = start + writer.size_of(len(plaintext), last=True)
            if size > len(out):
                raise ValueError(f"the message has {size} bytes, the buffer {len(out)}")
            view = memoryview(out)
            view[:start] = writer.header
            return start + writer.encrypt_into(view[start:], plaintext, last=True)

    def decrypt(self, message: bytes, encryption_context: Context | None = None) -> bytes:
        """Returns the plaintext. `encryption_context`: pairs that the message's encryption context must contain."""
        with self._reader(message, encryption_context) as reader:
            plaintext = reader.decrypt(memoryview(message)[reader.header_size :])
            reader.finish()
            return plaintext

    def decrypt_into(
        self, out: bytearray | memoryview, message: bytes, encryption_context: Context | None = None
    ) -> int:
        """Writes the plaintext into `out` and returns its size. Raises ValueError if `out` is too small."""
        with self._reader(message, encryption_context) as reader:
            size = reader.decrypt_into(out, memoryview(message)[reader.header_size :])
            reader.finish()
            return size

    def _writer(self, key_id: str, context: Context | None, frame_length: int) -> MessageWriter:
        answer = self._kms.generate_data_key(key_id, context)
        writer = MessageWriter(context or {}, answer.key_id, frame_length)
        return writer.under_data_key(answer.plaintext, answer.ciphertext_blob)

    def _reader(self, message: bytes, asked: Context | None) -> MessageReader:
        header = read_header(message)
        if header is None or header.suite not in COMMITTING:
            raise InvalidCiphertextException
        if any(header.context.get(name) != value for name, value in (asked or {}).items()):
            raise InvalidCiphertextException
        answer = self._kms.decrypt(_blob(header), header.context)
        return MessageReader(header, message).under_data_key(answer.plaintext)


def _blob(header: MessageHeader) -> bytes:
    """Returns the first encrypted data key of the provider aws-kms."""
    blobs = (data_key.blob for data_key in header.data_keys if data_key.provider == PROVIDER)
    blob = next(blobs, None)
    if blob is None:
        raise InvalidCiphertextException
    return blob
