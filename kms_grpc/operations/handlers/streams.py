"""EncryptStream and DecryptStream: content of any size, as a message of the AWS Encryption SDK.

The data key is made, or opened, in the core and stays there; the encryption context is the message's and the data
key's. A handler is called once, with the first message; its Flow then takes part after part. What is admitted anew
meanwhile is the key itself, by its ARN: an alias may move. Source:
https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/message-format.html
"""

from __future__ import annotations

from typing import Any

from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.crypto.message_format import COMMITTING, RESERVED, MessageHeader, MessageReader, MessageWriter
from kms_grpc.crypto.message_signature import PUBLIC_KEY
from kms_grpc.errors import InvalidCiphertextException, UnsupportedOperationException, ValidationException
from kms_grpc.model.key import Key
from kms_grpc.operations.admission.message_selector import blob_of, header_of
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.descriptors import value_or_default
from kms_grpc.operations.handlers.cryptography import named_material, note_material
from kms_grpc.operations.kinds.stream_work import Part, StreamWork, lead, taken_out
from kms_grpc.v1 import envelope_pb2 as pb


def encrypt_stream(call: Call, request: pb.EncryptStreamRequest, key: Key) -> StreamWork:
    """Under a fresh data key, wrapped by the key's current material."""
    context = request.encryption_context
    if any(name.startswith(RESERVED) for name in context):
        raise ValidationException(f"EncryptionContext: keys that begin with {RESERVED} are the message format's own.")
    material = call.shard.current_material(key)
    writer = MessageWriter(context, key.arn, value_or_default(request, "frame_length"))
    writer.under(material.handle, material.prefix, material.associated_prefix + canonical(context))
    note_material(call, material)
    answer = pb.EncryptStreamResponse(
        ciphertext=writer.header, key_id=key.arn, key_material_id=material.material_id.hex()
    )
    rest, plaintext = taken_out(request, "plaintext")
    rest.key_id = key.arn
    return Encryption(writer, rest, Part(plaintext, rest.last), answer, call.service.limits.message_bytes)


def decrypt_stream(call: Call, request: pb.DecryptStreamRequest, key: Key) -> StreamWork:
    """With the data key that the message's header carries. InvalidCiphertextException, always without text."""
    rest, message = taken_out(request, "ciphertext")
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
    rest.key_id = key.arn  # no other one of the message's keys lets it go on
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
    """Plaintext in, frames out."""

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
            raise ValidationException("The stream ended without its last message: what came back is not whole.")

    def close(self) -> None:
        self._writer.close()


class Decryption(StreamWork):
    """Frames in, the plaintext of those that were verified out."""

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
