# Made by `python build.py --client` from kms_grpc/client/methods/encryption.py: do not edit.
"""Methods that encrypt, decrypt and re-encrypt up to 4,096 bytes with a KMS key."""

from __future__ import annotations

from collections.abc import Sequence

from kms_grpc.client.aio.service_client import AsyncServiceClient
from kms_grpc.client.arguments import Context
from kms_grpc.v1 import key_management_pb2 as pb


class AsyncEncryptionMethods(AsyncServiceClient):
    """Encryption under symmetric keys."""

    async def encrypt(
        self,
        key_id: str,
        plaintext: bytes,
        encryption_context: Context | None = None,
        *,
        grant_tokens: Sequence[str] = (),
        dry_run: bool = False,
    ) -> pb.EncryptResponse:
        """Encrypts 1 to 4,096 bytes. Decryption needs the same encryption context."""
        request = pb.EncryptRequest(
            key_id=key_id,
            plaintext=plaintext,
            encryption_context=encryption_context or {},
            grant_tokens=grant_tokens,
            dry_run=dry_run,
        )
        return await self._call(self._keys.Encrypt, request)

    async def decrypt(
        self,
        ciphertext_blob: bytes,
        encryption_context: Context | None = None,
        *,
        key_id: str | None = None,
        grant_tokens: Sequence[str] = (),
        dry_run: bool = False,
    ) -> pb.DecryptResponse:
        """Decrypts a ciphertext blob, which names its key. With `key_id`, the service refuses a blob of another key."""
        request = pb.DecryptRequest(
            key_id=key_id,
            ciphertext_blob=ciphertext_blob,
            encryption_context=encryption_context or {},
            grant_tokens=grant_tokens,
            dry_run=dry_run,
        )
        return await self._call(self._keys.Decrypt, request)

    async def re_encrypt(
        self,
        ciphertext_blob: bytes,
        destination_key_id: str,
        *,
        source_key_id: str | None = None,
        source_encryption_context: Context | None = None,
        destination_encryption_context: Context | None = None,
        grant_tokens: Sequence[str] = (),
        dry_run: bool = False,
    ) -> pb.ReEncryptResponse:
        """Decrypts a ciphertext blob and encrypts the plaintext under another key or context, within the service."""
        request = pb.ReEncryptRequest(
            ciphertext_blob=ciphertext_blob,
            destination_key_id=destination_key_id,
            source_key_id=source_key_id,
            source_encryption_context=source_encryption_context or {},
            destination_encryption_context=destination_encryption_context or {},
            grant_tokens=grant_tokens,
            dry_run=dry_run,
        )
        return await self._call(self._keys.ReEncrypt, request)
