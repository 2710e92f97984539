"""Runs streams as the gRPC door does: one message, its answers, the next message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from kms_grpc.operations.kinds.stream import StreamCall
from kms_grpc.v1 import envelope_pb2 as pb
from tests import stock_library
from tests.operations.service import ALICE, STREAMS, Caller, Refusal, Worker, refusal_of

FRAME = 1024
CONTEXT = {"dept": "it"}


def parts_of(content: bytes, step: int) -> list[bytes]:
    return [content[start : start + step] for start in range(0, len(content), step)] or [b""]


def encrypting(key_id: str, content: bytes, step: int = 1 << 20, **first: Any) -> Iterator[Message]:
    """Yields the messages of an EncryptStream."""
    first = {"frame_length": FRAME, "encryption_context": CONTEXT} | first
    parts = parts_of(content, step)
    for i, part in enumerate(parts):
        named: dict[str, Any] = {"key_id": key_id} | first if i == 0 else {}
        yield pb.EncryptStreamRequest(plaintext=part, last=i == len(parts) - 1, **named)


def decrypting(message: bytes, step: int = 1 << 20, **first: Any) -> Iterator[Message]:
    """Yields the messages of a DecryptStream, none of which says that it is the last."""
    for i, part in enumerate(parts_of(message, step)):
        yield pb.DecryptStreamRequest(ciphertext=part, **(first if i == 0 else {}))


class Stream:
    """One stream, message by message."""

    def __init__(self, worker: Worker, name: str, by: Caller | str | None = ALICE, region: str | None = None) -> None:
        self.operation = STREAMS[name]
        self.call: StreamCall = StreamCall(worker.service, self.operation, worker.credentials(by, region))
        self.answers: list[Any] = []

    def send(self, message: Message | bytes) -> list[Any]:
        """Returns the answers to one message. An error that it raises has been audited and counted."""
        raw = message if isinstance(message, bytes) else message.SerializeToString()
        with self._failing():
            if self.call.must_be_admitted:
                self.call.admit(raw)
            self.call.take(raw)
            got = [self.operation.response.FromString(answer) for answer in iter(self.call.answer, None)]
        self.answers += got
        return got

    def end(self) -> list[Any]:
        with self._failing():
            self.call.done()
        self.call.close()
        return self.answers

    def _failing(self) -> Any:
        return _Failing(self.call)


class _Failing:
    def __init__(self, call: StreamCall) -> None:
        self._call = call

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, problem: Exception | None, trace: Any) -> None:
        if problem is not None:
            error = self._call.fail(problem)
            self._call.close()
            raise error from None


def run(worker: Worker, name: str, messages: Iterable[Message | bytes], **how: Any) -> list[Any]:
    """Runs a whole stream and returns its answers."""
    stream = Stream(worker, name, **how)
    for message in messages:
        stream.send(message)
    return stream.end()


def encrypt(worker: Worker, key_id: str, content: bytes, step: int = 1 << 20, **first: Any) -> bytes:
    answers = run(worker, "EncryptStream", encrypting(key_id, content, step, **first))
    return b"".join(answer.ciphertext for answer in answers)


def decrypt(worker: Worker, message: bytes, step: int = 1 << 20, **first: Any) -> bytes:
    return b"".join(answer.plaintext for answer in run(worker, "DecryptStream", decrypting(message, step, **first)))


def refusal(worker: Worker, name: str, messages: Iterable[Message | bytes], **how: Any) -> Refusal:
    return refusal_of(lambda: run(worker, name, messages, **how))


def key_of_worker(worker: Worker, arn: str) -> stock_library.Key:
    """A master key of the AWS Encryption SDK that takes its data keys from this worker."""

    def wrap(size: int, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        made = worker.call("GenerateDataKey", key_id=arn, number_of_bytes=size, encryption_context=context)
        return made.plaintext, made.ciphertext_blob

    def unwrap(wrapped: bytes, context: Mapping[str, str]) -> bytes:
        opened: bytes = worker.call("Decrypt", ciphertext_blob=wrapped, encryption_context=context).plaintext
        return opened

    return stock_library.Key(key_id=arn, wrap=wrap, unwrap=unwrap)
