# Made by `python build.py --client` from kms_grpc/client/methods/data_keys.py: do not edit.
"""Methods that generate data keys and random bytes."""

from __future__ import annotations

from collections.abc import Sequence

from kms_grpc.client.aio.service_client import AsyncServiceClient
from kms_grpc.client.arguments import Context
from kms_grpc.v1 import key_management_pb2 as pb


class AsyncDataKeyMethods(AsyncServiceClient):
    """Data keys and random bytes."""

    async def generate_data_key(
        self,
        key_id: str,
        encryption_context: Context | None = None,
        *,
        number_of_bytes: int = 32,
        grant_tokens: Sequence[str] = (),
        dry_run: bool = False,
    ) -> pb.GenerateDataKeyResponse:
        """Generates a data key of 1 to 1,024 bytes. Returns it in plaintext and encrypted under the key."""
        request = pb.GenerateDataKeyRequest(
            key_id=key_id,
            encryption_context=encryption_context or {},
            number_of_bytes=number_of_bytes,
            grant_tokens=grant_tokens,
            dry_run=dry_run,
        )
        return await self._call(self._keys.GenerateDataKey, request)

    async def generate_data_key_without_plaintext(
        self,
        key_id: str,
        encryption_context: Context | None = None,
        *,
        number_of_bytes: int = 32,
        grant_tokens: Sequence[str] = (),
        dry_run: bool = False,
    ) -> pb.GenerateDataKeyWithoutPlaintextResponse:
        """Generates a data key of 1 to 1,024 bytes. Returns it encrypted under the key, and not in plaintext."""
        request = pb.GenerateDataKeyWithoutPlaintextRequest(
            key_id=key_id,
            encryption_context=encryption_context or {},
            number_of_bytes=number_of_bytes,
            grant_tokens=grant_tokens,
            dry_run=dry_run,
        )
        return await self._call(self._keys.GenerateDataKeyWithoutPlaintext, request)

    async def generate_random(self, number_of_bytes: int) -> pb.GenerateRandomResponse:
        """Returns 1 to 1,024 random bytes."""
        return await self._call(self._keys.GenerateRandom, pb.GenerateRandomRequest(number_of_bytes=number_of_bytes))
