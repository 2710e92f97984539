"""MessageClient: messages of the AWS Encryption SDK under data keys of a real service."""

from __future__ import annotations

import os
from typing import Any

import pytest

from kms_grpc.client import KeyManagementClient, MessageClient
from kms_grpc.errors import DisabledException, InvalidCiphertextException
from tests import stock_library
from tests.served import Served

CONTENT = os.urandom(300_001)
CONTEXT = {"app": "shop"}


@pytest.fixture
def kms(server: Served) -> Any:
    with server.client() as client:
        yield client


def test_round_trips_with_itself_and_with_the_aws_library(kms: KeyManagementClient) -> None:
    key = kms.create_key("messages").key_metadata
    messages = MessageClient(kms)
    stock = stock_library.key_of_service(kms, key.arn)
    for size in (0, 1, 65_535, 65_536, 65_537, len(CONTENT)):
        message = messages.encrypt(key.key_id, CONTENT[:size], CONTEXT)
        assert messages.decrypt(message, CONTEXT) == CONTENT[:size]
        assert stock_library.read(message, stock) == (CONTENT[:size], CONTEXT)
    for suite in (0x0478, 0x0578):
        assert messages.decrypt(stock_library.write(CONTENT, stock, CONTEXT, suite)) == CONTENT


def test_buffers_can_be_reused(kms: KeyManagementClient) -> None:
    key_id = kms.create_key("messages").key_metadata.key_id
    messages = MessageClient(kms)
    out, opened = bytearray(len(CONTENT) + 10_000), bytearray(len(CONTENT) + 10_000)
    for content in (CONTENT, CONTENT[:1000]):
        size = messages.encrypt_into(out, key_id, content, CONTEXT, 4096)
        assert messages.decrypt_into(opened, bytes(out[:size])) == len(content)
        assert opened[: len(content)] == content
    with pytest.raises(ValueError, match="the buffer 100"):
        messages.encrypt_into(bytearray(100), key_id, CONTENT)


def test_invalid_messages_are_refused(kms: KeyManagementClient) -> None:
    key_id = kms.create_key("messages").key_metadata.key_id
    messages = MessageClient(kms)
    message = messages.encrypt(key_id, CONTENT, CONTEXT)
    changed = bytes([*message[:-1], message[-1] ^ 1])
    for wrong in (b"", message[:100], message[:-1], message + b"x", changed):
        with pytest.raises(InvalidCiphertextException):
            messages.decrypt(wrong)
    with pytest.raises(InvalidCiphertextException):
        messages.decrypt(message, {"app": "another"})
    old = stock_library.write(CONTENT, stock_library.known_key("arn", bytes(32), b"w"), {}, 0x0178)
    with pytest.raises(InvalidCiphertextException):
        messages.decrypt(old)
    kms.disable_key(key_id)
    with pytest.raises(DisabledException):
        messages.decrypt(message)
