"""The AWS Encryption SDK for Python, which reads and writes the same messages as this project.

The tests give it a key provider: one that knows the data key, or one that calls a service. Both have the provider id
`aws-kms`, like the SDK's own.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient
from aws_encryption_sdk.identifiers import Algorithm
from aws_encryption_sdk.key_providers.base import MasterKey, MasterKeyConfig
from aws_encryption_sdk.structures import DataKey, EncryptedDataKey, MasterKeyInfo

from kms_grpc.client import KeyManagementClient

Wrap = Callable[[int, Mapping[str, str]], tuple[bytes, bytes]]
Unwrap = Callable[[bytes, Mapping[str, str]], bytes]


class KeyConfig(MasterKeyConfig):  # type: ignore[misc]
    provider_id = "aws-kms"

    def __init__(self, key_id: str, wrap: Wrap, unwrap: Unwrap, beside: Sequence[MasterKey] = ()) -> None:
        self.key_id, self.wrap, self.unwrap, self.beside = key_id.encode(), wrap, unwrap, beside


class Key(MasterKey):  # type: ignore[misc]
    """A master key. `wrap` makes a data key of a size under an encryption context; `unwrap` decrypts a data key.

    `wrap` returns the plaintext and the encrypted data key.
    """

    provider_id = "aws-kms"
    _config_class = KeyConfig

    def __init__(self, **config: Any) -> None:
        self._key_id = self.config.key_id

    def master_keys_for_encryption(self, *_: Any, **__: Any) -> tuple[MasterKey, list[MasterKey]]:
        return self, [self, *self.config.beside]

    def owns_data_key(self, data_key: EncryptedDataKey) -> bool:
        return bool(data_key.key_provider == MasterKeyInfo("aws-kms", self._key_id))

    def _generate_data_key(self, algorithm: Any, encryption_context: Mapping[str, str]) -> DataKey:
        plaintext, wrapped = self.config.wrap(algorithm.kdf_input_len, encryption_context)
        return DataKey(self.key_provider, plaintext, wrapped)

    def _encrypt_data_key(self, data_key: Any, algorithm: Any, encryption_context: Mapping[str, str]) -> Any:
        """Encrypts the data key under a further key. Used with `known_key`, which has that data key."""
        _, wrapped = self.config.wrap(algorithm.kdf_input_len, encryption_context)
        return EncryptedDataKey(self.key_provider, wrapped)

    def _decrypt_data_key(self, encrypted_data_key: Any, algorithm: Any, encryption_context: Mapping[str, str]) -> Any:
        wrapped = encrypted_data_key.encrypted_data_key
        return DataKey(encrypted_data_key.key_provider, self.config.unwrap(wrapped, encryption_context), wrapped)


def known_key(arn: str, data_key: bytes, wrapped: bytes, *beside: Key) -> Key:
    """Returns a key that always gives the same data key, cut to the suite's length.

    A message carries the data key encrypted under each key of `beside` as well.
    """
    return Key(key_id=arn, wrap=lambda size, _: (data_key[:size], wrapped), unwrap=lambda *_: data_key, beside=beside)


def key_of_service(client: KeyManagementClient, arn: str) -> Key:
    """Returns a key that calls GenerateDataKey and Decrypt of a service, with the message's encryption context."""

    def wrap(size: int, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        made = client.generate_data_key(arn, encryption_context=context, number_of_bytes=size)
        return made.plaintext, made.ciphertext_blob

    def unwrap(wrapped: bytes, context: Mapping[str, str]) -> bytes:
        return client.decrypt(wrapped, context, key_id=arn).plaintext

    return Key(key_id=arn, wrap=wrap, unwrap=unwrap)


def _library(algorithm: Any = None) -> EncryptionSDKClient:
    commits = algorithm is None or algorithm.algorithm_id in (0x0478, 0x0578)
    policy = (
        CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT if commits else CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
    )
    return EncryptionSDKClient(commitment_policy=policy)


def suite(number: int) -> Any:
    return next(algorithm for algorithm in Algorithm if algorithm.algorithm_id == number)


def write(
    plaintext: bytes, key: Key, context: Mapping[str, str], number: int = 0x0478, frame_length: int = 4096
) -> bytes:
    """Encrypts with the SDK and returns the message."""
    algorithm = suite(number)
    how = {"encryption_context": dict(context), "algorithm": algorithm, "frame_length": frame_length}
    message, _ = _library(algorithm).encrypt(source=plaintext, key_provider=key, **how)
    return bytes(message)


def read(message: bytes, key: Key) -> tuple[bytes, dict[str, str]]:
    """Decrypts a message with the SDK; returns the plaintext and the encryption context."""
    plaintext, header = _library().decrypt(source=io.BytesIO(message), key_provider=key)
    return plaintext, dict(header.encryption_context)
