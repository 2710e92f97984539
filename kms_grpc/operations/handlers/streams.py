"""EncryptStream and DecryptStream: content of any size, as a message of the AWS Encryption SDK.

The data key is made or opened in the core and stays there. Message and data key have the same encryption context. A
handler is called once, with the first message; the StreamWork that it returns then takes part after part. While the
stream runs, the key is admitted again by its ARN, since an alias may move. Source:
https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/message-format.html
"""

from __future__ import annotations

from typing import Any

from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.crypto.message_format import COMMITTING, RESERVED, MessageHeader, MessageReader, MessageWriter
from kms_grpc.crypto.message_signature import PUBLIC_KEY
from kms_grpc.errors import InvalidCiphertextException, UnsupportedOperationException, ValidationException
from kms_grpc.model.key import Key, KeyUsage
from kms_grpc.model.key_state import RULES
from kms_grpc.operations.admission.message_selector import ByMessage, blob_of, header_of
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.descriptors import value_or_default
from kms_grpc.operations.handlers.data_keys import DATA_KEY_WRAPPING
from kms_grpc.operations.handlers.encryption import named_material, sealing_material
from kms_grpc.operations.kinds.steps import note_material
from kms_grpc.operations.kinds.stream import Stream
from kms_grpc.operations.kinds.stream_work import Part, StreamWork, lead, without_content
from kms_grpc.v1 import envelope_pb2 as pb


def encrypt_stream(call: Call, request: pb.EncryptStreamRequest, key: Key) -> StreamWork:
    """Encrypts under a new data key that the key's current material wraps."""
    context = request.encryption_context
    if any(name.startswith(RESERVED) for name in context):
        raise ValidationException(f"EncryptionContext: keys that begin with {RESERVED} are the message format's own.")
    material = sealing_material(call, request, key)
    writer = MessageWriter(context, key.arn, value_or_default(request, "frame_length"))
    writer.under(material.handle, material.prefix, material.associated_prefix + canonical(context))
    note_material(call, material)
    answer = pb.EncryptStreamResponse(
        ciphertext=writer.header, key_id=key.arn, key_material_id=material.material_id.hex()
    )
    rest, plaintext = without_content(request, "plaintext")
    rest.key_id = key.arn
    return Encryption(writer, rest, Part(plaintext, rest.last), answer, call.service.limits.message_bytes)


def decrypt_stream(call: Call, request: pb.DecryptStreamRequest, key: Key) -> StreamWork:
    """Decrypts with the data key in the message's header. Raises InvalidCiphertextException, always with an empty
    text."""
    rest, message = without_content(request, "ciphertext")
    header = header_of(message)
    _check_suite(call, header)
    blob = blob_of(header, key)
    material = named_material(call, key, blob)
    reader = MessageReader(header, message)
    reader.under(material.handle, material.associated_prefix + canonical(header.context), blob)
    note_material(call, material)
    answer = pb.DecryptStreamResponse(
        key_id=key.arn, key_material_id=material.material_id.hex(), encryption_context=header.context
    )
    rest.key_id = key.arn  # the stream goes on under this key only, even if the message has several
    rest.ciphertext = message[: header.size]
    first = Part(memoryview(message)[header.size :], rest.last)
    return Decryption(reader, rest, first, answer, call.service.limits.message_bytes)


def _check_suite(call: Call, header: MessageHeader) -> None:
    if header.suite not in COMMITTING and not call.service.non_committing_suites:
        raise UnsupportedOperationException(
            f"The message's algorithm suite, {header.suite:#06x}, does not commit to its key, and this server is not "
            "configured to read such messages (non_committing_suites)."
        )
    if not header.is_signed and PUBLIC_KEY in header.context:
        raise InvalidCiphertextException


class Encryption(StreamWork):
    """Encrypts plaintext into frames."""

    def __init__(self, writer: MessageWriter, request: Any, first: Part, answer: Any, most: int) -> None:
        super().__init__(first, answer, most)
        self._writer = writer
        self.request = request

    def _work(self, piece: memoryview, is_last: bool) -> bytes:
        self.content_bytes += len(piece)
        self.is_whole = is_last
        return self._writer.encrypt(piece, is_last, lead)

    def finish(self) -> None:
        if not self.is_whole:
            raise ValidationException("The stream ended without its last message: the ciphertext is incomplete.")

    def close(self) -> None:
        self._writer.close()


class Decryption(StreamWork):
    """Decrypts frames; returns only plaintext that was verified."""

    def __init__(self, reader: MessageReader, request: Any, first: Part, answer: Any, most: int) -> None:
        super().__init__(first, answer, most)
        self._reader = reader
        self.request = request

    def _work(self, piece: memoryview, is_last: bool) -> bytes:
        answer = self._reader.decrypt(piece, lead)
        self.content_bytes = self._reader.plaintext_bytes
        self.is_whole = self._reader.has_ended
        return answer

    def finish(self) -> None:
        self._reader.finish()

    def close(self) -> None:
        self._reader.close()


MESSAGE_KEY = ByMessage(
    blob="ciphertext",
    named="key_id",
    action="kms:Decrypt",
    rule=RULES["Decrypt"],
    usage=KeyUsage.ENCRYPT_DECRYPT,
    context="encryption_context",
)

ROWS = (
    Stream("EncryptStream", pb.EncryptStreamRequest, encrypt_stream, keys=(DATA_KEY_WRAPPING,)),
    Stream("DecryptStream", pb.DecryptStreamRequest, decrypt_stream, keys=(MESSAGE_KEY,), yields_secrets=True),
)
