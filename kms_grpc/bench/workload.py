"""The calls of a load: for each operation a path and one request, which is sent repeatedly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

from google.protobuf.message import Message

from kms_grpc.bench.children import BenchFailed
from kms_grpc.bench.echo import ECHO, echo_request
from kms_grpc.bench.http2 import CallAnswer, LoadConnection, status_name
from kms_grpc.bench.server import Target
from kms_grpc.operations.table import TABLE
from kms_grpc.v1 import envelope_pb2
from kms_grpc.v1 import key_management_pb2 as pb

Send = Callable[[str, Message], bytes]
"""Sends a request of an operation; returns the answer's bytes."""
PATHS: Final[Mapping[str, str]] = {operation.name: operation.path for operation in TABLE}
DATA_KEY_BYTES: Final = 32
BATCH_ITEMS: Final = 1_000
BATCH_BYTES: Final = 1_024_000


class PreparedCall(NamedTuple):
    path: str
    request: bytes
    answer_size: int
    """Size of the answer's message in bytes."""


class _Subject(NamedTuple):
    """The key, plaintext and encryption context of the requests."""

    send: Send
    key_id: str
    plaintext: bytes
    context: Mapping[str, str]

    def blob(self) -> bytes:
        answer = self.send("Encrypt", _encrypt(self))
        return pb.EncryptResponse.FromString(answer).ciphertext_blob


def _encrypt(of: _Subject) -> Message:
    return pb.EncryptRequest(key_id=of.key_id, plaintext=of.plaintext, encryption_context=of.context)


def _decrypt(of: _Subject) -> Message:
    return pb.DecryptRequest(ciphertext_blob=of.blob(), encryption_context=of.context)


def _re_encrypt(of: _Subject) -> Message:
    return pb.ReEncryptRequest(
        ciphertext_blob=of.blob(),
        destination_key_id=of.key_id,
        source_encryption_context=of.context,
        destination_encryption_context=of.context,
    )


def _data_key(of: _Subject) -> Message:
    return pb.GenerateDataKeyRequest(key_id=of.key_id, number_of_bytes=DATA_KEY_BYTES, encryption_context=of.context)


def _data_key_without_plaintext(of: _Subject) -> Message:
    return pb.GenerateDataKeyWithoutPlaintextRequest(
        key_id=of.key_id, number_of_bytes=DATA_KEY_BYTES, encryption_context=of.context
    )


def _encrypt_batch(of: _Subject) -> Message:
    """Returns a batch of as many items as fit into a megabyte, but at most a thousand."""
    count = min(BATCH_ITEMS, max(1, BATCH_BYTES // max(1, len(of.plaintext))))
    item = envelope_pb2.EncryptBatchItem(plaintext=of.plaintext)
    return envelope_pb2.EncryptBatchRequest(key_id=of.key_id, encryption_context=of.context, items=[item] * count)


def _random(of: _Subject) -> Message:
    return pb.GenerateRandomRequest(number_of_bytes=len(of.plaintext))


def _describe_key(of: _Subject) -> Message:
    return pb.DescribeKeyRequest(key_id=of.key_id)


def _list_keys(of: _Subject) -> Message:
    return pb.ListKeysRequest(limit=100)


_REQUESTS: Final[Mapping[str, tuple[str, Callable[[_Subject], Message]]]] = {
    "encrypt": ("Encrypt", _encrypt),
    "decrypt": ("Decrypt", _decrypt),
    "re-encrypt": ("ReEncrypt", _re_encrypt),
    "data-key": ("GenerateDataKey", _data_key),
    "data-key-without-plaintext": ("GenerateDataKeyWithoutPlaintext", _data_key_without_plaintext),
    "encrypt-batch": ("EncryptBatch", _encrypt_batch),
    "random": ("GenerateRandom", _random),
    "describe-key": ("DescribeKey", _describe_key),
    "list-keys": ("ListKeys", _list_keys),
}
OPERATIONS: Final = (*_REQUESTS, "echo")


class Workload:
    """Requests to one server, under a given key or a new one."""

    def __init__(self, target: Target, key_id: str | None = None, context: Mapping[str, str] | None = None) -> None:
        """Connects to the server. Raises BenchFailed if it cannot be reached or refuses."""
        self._metadata = target.metadata
        self._context = context or {}
        try:
            self._connection = LoadConnection(target.endpoint, lambda *_: None, target.trust)
        except OSError as error:
            raise BenchFailed(f"{target.endpoint}: {error}") from None
        self._key_id = key_id or self._new_key()

    def close(self) -> None:
        self._connection.close()

    def call(self, operation: str, size: int) -> PreparedCall:
        """Returns a call of `operation` with a plaintext of `size` bytes, after the server has answered it once."""
        if operation == "echo":
            return PreparedCall(ECHO, echo_request(max(size, 4), size), size)
        name, request_for = _REQUESTS[operation]
        request = request_for(_Subject(self._send, self._key_id, bytes(size), self._context))
        return PreparedCall(PATHS[name], request.SerializeToString(), len(self._send(name, request)))

    def _new_key(self) -> str:
        answer = self._send("CreateKey", pb.CreateKeyRequest(description="kms-grpc bench"))
        return pb.CreateKeyResponse.FromString(answer).key_metadata.key_id

    def _send(self, name: str, request: Message) -> bytes:
        answer = self._connection.call(PATHS[name], request.SerializeToString(), self._metadata)
        if answer.status:
            raise BenchFailed(f"{name}: {status_name(answer.status)} {reason_of(answer)}".rstrip())
        return answer.message


def echo_of(call: PreparedCall) -> PreparedCall:
    """Returns an echo call with the same message sizes."""
    return PreparedCall(ECHO, echo_request(len(call.request), call.answer_size), call.answer_size)


def reason_of(answer: CallAnswer) -> str:
    """Returns the readable part of a refused call's `grpc-message`."""
    found = re.search(rb"\x0cgrpc-message(?:[\x00-\x7e]|\x7f[\x80-\xff]*[\x00-\x7f])([ -~]+)", answer.trailers)
    return unquote(found[1].decode()) if found else ""
