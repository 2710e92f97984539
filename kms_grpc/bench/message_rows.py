"""Rows `client.esdk.*`: messages of 64 MiB in the AWS Encryption SDK's format, encrypted by MessageClient.

The reference is the SDK for Python with a raw keyring. Both use suite 0x0478 and wrap each data key by AES-GCM in this
process. MessageClient writes into a buffer that is used again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.children import BenchFailed
from kms_grpc.bench.statistics import BenchRow, interleaved
from kms_grpc.client.messages import MessageClient
from kms_grpc.crypto.keyring import libcrypto_version

MIB: Final = 1024 * 1024
_ROWS: Final = {"client.esdk.64m": (4096, 8.0, 20.0), "client.esdk.64m.64k": (65536, 4.0, 10.0)}
"""Frame length, and the goals as multiples of the SDK's rate on OpenSSL 3.0 and on newer versions."""
NAMES: Final = tuple(_ROWS)
CONTEXT: Final = {"purpose": "bench"}
ROOM: Final = 2 * MIB
"""Bytes for the header and the tags of the frames."""


class DataKeyAnswer(NamedTuple):
    key_id: str
    plaintext: bytes
    ciphertext_blob: bytes


class RawKeyring:
    """A key service in this process that wraps data keys by AES-GCM, as the SDK's raw keyring does."""

    def __init__(self) -> None:
        self._wrapping = AESGCM(bytes(32))

    def generate_data_key(self, key_id: str, encryption_context: Mapping[str, str] | None = None) -> DataKeyAnswer:
        plaintext, nonce = os.urandom(32), os.urandom(12)
        return DataKeyAnswer(key_id, plaintext, nonce + self._wrapping.encrypt(nonce, plaintext, None))

    def decrypt(self, ciphertext_blob: bytes, encryption_context: Mapping[str, str] | None = None) -> DataKeyAnswer:
        nonce, wrapped = ciphertext_blob[:12], ciphertext_blob[12:]
        return DataKeyAnswer("", self._wrapping.decrypt(nonce, wrapped, None), ciphertext_blob)


def measure(name: str, bench_data: BenchData) -> list[BenchRow]:
    frame_length, on_3_0, newer = _ROWS[name]
    content = bytes(bench_data.effort.message_mib * MIB)
    messages, out = MessageClient(RawKeyring()), bytearray(len(content) + ROOM)
    sdk = _sdk_encrypts(frame_length)

    def ours() -> float:
        return _rate(lambda: messages.encrypt_into(out, "bench", content, CONTEXT, frame_length), len(content))

    goal = on_3_0 if libcrypto_version().startswith("OpenSSL 3.0.") else newer
    rounds = bench_data.effort.rounds
    return [
        interleaved(name, "GB/s", goal, ours, lambda: _rate(lambda: sdk(content), len(content)), rounds, at_least=True)
    ]


def _rate(encrypt: Callable[[], object], size: int) -> float:
    begun = time.perf_counter()
    encrypt()
    return size / (time.perf_counter() - begun) / 1e9


def _sdk_encrypts(frame_length: int) -> Callable[[bytes], object]:
    """Returns a function that encrypts with the SDK. Raises BenchFailed if the SDK is not installed."""
    try:
        import aws_encryption_sdk
        from aws_encryption_sdk.identifiers import Algorithm, EncryptionKeyType, WrappingAlgorithm
        from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
        from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider
    except ImportError:
        raise BenchFailed("its reference is missing: pip install aws-encryption-sdk") from None

    class Raw(RawMasterKeyProvider):  # type: ignore[misc]
        provider_id = "bench"

        def _get_raw_key(self, key_id: bytes) -> Any:
            algorithm = WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING
            return WrappingKey(algorithm, bytes(32), EncryptionKeyType.SYMMETRIC)

    provider = Raw()
    provider.add_master_key("bench")
    client = aws_encryption_sdk.EncryptionSDKClient()
    how = {"algorithm": Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY, "frame_length": frame_length}
    return lambda content: client.encrypt(
        source=content, key_provider=provider, encryption_context=dict(CONTEXT), **how
    )
