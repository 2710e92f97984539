"""Reads requests and writes answers in a door's encoding: protobuf at the gRPC door, JSON at the AWS door."""

from __future__ import annotations

from typing import Any, Protocol

from google.protobuf.message import Message

from kms_grpc.operations.contract.validation import Validator, decode, validator_for


class Wire(Protocol):
    """A door's encoding of messages. The contract says what messages may hold, at every door."""

    is_protobuf: bool
    """The bytes are protobuf, which the C core reads and writes as well."""

    def read(self, message_class: type[Message], raw: bytes) -> tuple[Any, Validator]:
        """Returns the request in `raw`, not validated yet, and its validator. Raises a KMSError where `raw` is not
        such a request."""

    def write(self, answer: Message) -> bytes: ...


class Protobuf:
    """The gRPC door's encoding."""

    is_protobuf = True

    def read(self, message_class: type[Message], raw: bytes) -> tuple[Any, Validator]:
        return decode(message_class, raw), validator_for(message_class)  # type: ignore[arg-type]  # classes hash

    def write(self, answer: Message) -> bytes:
        serialised: bytes = answer.SerializeToString()
        return serialised


PROTOBUF = Protobuf()
