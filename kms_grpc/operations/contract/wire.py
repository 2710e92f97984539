"""What differs between doors for the executor: how a request's bytes are read, and how an answer's are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf.message import Message

from kms_grpc.operations.contract.validation import Validator, decode

if TYPE_CHECKING:
    from kms_grpc.operations.operation import Form, Operation


class Wire(Protocol):
    """A door's form of messages. What may be in them is the contract's, whatever the door."""

    def read(self, operation: Operation, raw: bytes) -> tuple[Any, Validator]:
        """The request in `raw`, not judged yet, and what judges it. A KMSError where there is no request in it."""

    def write(self, answer: Message) -> bytes: ...

    def form(self, operation: Operation) -> Form:
        """How the operation is answered where a Permit holds (forms.py)."""


class Protobuf:
    """The gRPC door's."""

    def read(self, operation: Operation, raw: bytes) -> tuple[Any, Validator]:
        return decode(operation.request, raw), operation.validate

    def write(self, answer: Message) -> bytes:
        serialised: bytes = answer.SerializeToString()
        return serialised

    def form(self, operation: Operation) -> Form:
        return operation.form


PROTOBUF = Protobuf()
