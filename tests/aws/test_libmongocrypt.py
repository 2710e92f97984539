"""libmongocrypt, the client-side encryption of MongoDB's drivers, through pymongocrypt. No MongoDB is needed.

The library writes HTTP requests and reads answers itself, in C. Its parser compares header names by case.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from pymongocrypt.errors import MongoCryptError
from pymongocrypt.options import MongoCryptOptions
from pymongocrypt.synchronous.explicit_encrypter import ExplicitEncrypter
from pymongocrypt.synchronous.state_machine import MongoCryptCallback

from tests.aws.conftest import AwsEndpoint
from tests.aws.doors import REGION

ALGORITHM = "AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic"


class Driver(MongoCryptCallback):  # type: ignore[misc]  # has no types
    """Does a MongoDB driver's part for libmongocrypt: carries its bytes, and keeps the wrapped data keys."""

    def __init__(self) -> None:
        self.vault: dict[bytes, bytes] = {}
        self.answers: list[bytes] = []

    def kms_request(self, kms_context: Any) -> None:
        host, _, port = kms_context.endpoint.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(kms_context.message)
            while kms_context.bytes_needed > 0:
                segment = connection.recv(kms_context.bytes_needed)
                assert segment, "libmongocrypt waits for more than the answer has"
                self.answers.append(segment)
                kms_context.feed(segment)

    def insert_data_key(self, data_key: bytes) -> bytes:
        key_id = bytes(bson.decode(data_key)["_id"])
        self.vault[key_id] = bytes(data_key)
        return key_id

    def fetch_keys(self, filter: bytes) -> Iterator[bytes]:  # noqa: A002 - the name is pymongocrypt's
        yield from self.vault.values()

    def bson_encode(self, doc: Any) -> bytes:
        return bytes(bson.encode(doc))

    def collection_info(self, database: str, filter: bytes) -> None:  # noqa: A002 - likewise
        raise AssertionError("only for automatic encryption")

    def mark_command(self, database: str, cmd: bytes) -> None:
        raise AssertionError("only for automatic encryption")

    def close(self) -> None: ...


def encrypter(driver: Driver) -> ExplicitEncrypter:
    return ExplicitEncrypter(
        driver, MongoCryptOptions({"aws": {"accessKeyId": "test", "secretAccessKey": "test"}}, None)
    )


def master_key(endpoint: AwsEndpoint, arn: str) -> dict[str, str]:
    return {"region": REGION, "key": arn, "endpoint": endpoint.url.removeprefix("http://")}


def test_a_value_is_encrypted_and_decrypted(endpoint: AwsEndpoint, kms: Any) -> None:
    driver, arn = Driver(), kms.create_key()["KeyMetadata"]["Arn"]
    writer = encrypter(driver)
    key_id = writer.create_data_key("aws", master_key(endpoint, arn))
    assert bson.decode(driver.vault[key_id])["masterKey"]["key"] == arn
    assert driver.answers[0].startswith(b"HTTP/1.1 200 OK\r\n")
    sealed = writer.encrypt(bson.encode({"v": "secret"}), ALGORITHM, key_id=key_id)
    assert b"secret" not in sealed
    before = len(driver.answers)
    reader = encrypter(driver)  # has no data key yet, so it asks for Decrypt
    assert bson.decode(reader.decrypt(sealed)) == {"v": "secret"}
    assert len(driver.answers) > before
    writer.close()
    reader.close()


def test_a_refusal_is_told(endpoint: AwsEndpoint, kms: Any) -> None:
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    kms.disable_key(KeyId=arn)
    writer = encrypter(Driver())
    with pytest.raises(MongoCryptError, match=rf"DisabledException.*{arn} is disabled\."):
        writer.create_data_key("aws", master_key(endpoint, arn))
    writer.close()
