"""Made by `python build.py --client` from ../key_management.py: do not edit.

AsyncKeyManagementClient: one method per operation, thin over the generated stubs.

Methods take what the operation needs as arguments, enum values by AWS's names, and return the answer's message. A key
is named by its id, its ARN, its alias or its alias' ARN, as AWS KMS has it. Refused calls raise the error's class of
`kms_grpc.errors`, with `text`, `key`, `state`, `region` and `request_id`; a service that cannot be reached raises
ClientError.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from kms_grpc.client.aio.batches import AsyncBatchCalls
from kms_grpc.client.arguments import Context, by_aws_name, tags_of
from kms_grpc.v1 import envelope_pb2, keys_pb2
from kms_grpc.v1 import key_management_pb2 as pb


class AsyncKeyManagementClient(AsyncBatchCalls):
    """A connection to the service. Threads may share it; a forked child opens one of its own by itself."""

    # --- keys -----------------------------------------------------------------------------------------------------

    async def create_key(
        self,
        description: str = "",
        *,
        origin: str | None = None,
        tags: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> pb.CreateKeyResponse:
        """A new symmetric key. The same `request_id` (default: a fresh one) gives the same key for 24 hours.

        `origin`: AWS_KMS (the default), or EXTERNAL for a key whose material is imported.
        """
        request = pb.CreateKeyRequest(
            description=description, origin=by_aws_name(keys_pb2.OriginType, origin), tags=tags_of(tags or {})
        )
        return await self._create(self._keys.CreateKey, request, request_id)

    async def describe_key(self, key_id: str) -> pb.DescribeKeyResponse:
        return await self._call(self._keys.DescribeKey, pb.DescribeKeyRequest(key_id=key_id))

    async def list_keys(self, *, limit: int | None = None, marker: str | None = None) -> pb.ListKeysResponse:
        """One page of at most `limit` keys (1 to 1,000); `all_keys` walks over all of them."""
        return await self._call(self._keys.ListKeys, pb.ListKeysRequest(limit=limit, marker=marker))

    async def all_keys(self) -> AsyncIterator[keys_pb2.KeyListEntry]:
        """All keys of the account in the region, page by page."""
        page = await self.list_keys(limit=1000)
        for entry in page.keys:
            yield entry
        while page.truncated:
            page = await self.list_keys(limit=1000, marker=page.next_marker)
            for entry in page.keys:
                yield entry

    async def enable_key(self, key_id: str) -> pb.EnableKeyResponse:
        return await self._call(self._keys.EnableKey, pb.EnableKeyRequest(key_id=key_id))

    async def disable_key(self, key_id: str) -> pb.DisableKeyResponse:
        return await self._call(self._keys.DisableKey, pb.DisableKeyRequest(key_id=key_id))

    async def update_key_description(self, key_id: str, description: str) -> pb.UpdateKeyDescriptionResponse:
        request = pb.UpdateKeyDescriptionRequest(key_id=key_id, description=description)
        return await self._call(self._keys.UpdateKeyDescription, request)

    # --- aliases --------------------------------------------------------------------------------------------------

    async def create_alias(
        self, alias_name: str, target_key_id: str, *, request_id: str | None = None
    ) -> pb.CreateAliasResponse:
        request = pb.CreateAliasRequest(alias_name=alias_name, target_key_id=target_key_id)
        return await self._create(self._keys.CreateAlias, request, request_id)

    async def update_alias(self, alias_name: str, target_key_id: str) -> pb.UpdateAliasResponse:
        request = pb.UpdateAliasRequest(alias_name=alias_name, target_key_id=target_key_id)
        return await self._call(self._keys.UpdateAlias, request)

    async def delete_alias(self, alias_name: str) -> pb.DeleteAliasResponse:
        """Not repeated when the connection breaks: a second DeleteAlias would answer NotFoundException."""
        return await self._call(self._keys.DeleteAlias, pb.DeleteAliasRequest(alias_name=alias_name))

    async def list_aliases(
        self, *, key_id: str | None = None, limit: int | None = None, marker: str | None = None
    ) -> pb.ListAliasesResponse:
        """One page of at most `limit` aliases (1 to 100), all or one key's; `all_aliases` walks over all of them."""
        return await self._call(
            self._keys.ListAliases, pb.ListAliasesRequest(key_id=key_id, limit=limit, marker=marker)
        )

    async def all_aliases(self, key_id: str | None = None) -> AsyncIterator[keys_pb2.AliasListEntry]:
        """All aliases of the account in the region, or of one key, page by page."""
        page = await self.list_aliases(key_id=key_id, limit=100)
        for entry in page.aliases:
            yield entry
        while page.truncated:
            page = await self.list_aliases(key_id=key_id, limit=100, marker=page.next_marker)
            for entry in page.aliases:
                yield entry

    # --- encryption -----------------------------------------------------------------------------------------------

    async def encrypt(
        self, key_id: str, plaintext: bytes, encryption_context: Context | None = None, *, dry_run: bool = False
    ) -> pb.EncryptResponse:
        """Encrypt 1 to 4,096 bytes. Whoever decrypts must give the same encryption context."""
        request = pb.EncryptRequest(
            key_id=key_id, plaintext=plaintext, encryption_context=encryption_context or {}, dry_run=dry_run
        )
        return await self._call(self._keys.Encrypt, request)

    async def decrypt(
        self,
        ciphertext_blob: bytes,
        encryption_context: Context | None = None,
        *,
        key_id: str | None = None,
        dry_run: bool = False,
    ) -> pb.DecryptResponse:
        """Decrypt a ciphertext blob. It names its key itself; a given `key_id` must be that key."""
        request = pb.DecryptRequest(
            key_id=key_id, ciphertext_blob=ciphertext_blob, encryption_context=encryption_context or {}, dry_run=dry_run
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
        dry_run: bool = False,
    ) -> pb.ReEncryptResponse:
        """Decrypt and encrypt again inside the service; the plaintext never leaves it."""
        request = pb.ReEncryptRequest(
            ciphertext_blob=ciphertext_blob,
            destination_key_id=destination_key_id,
            source_key_id=source_key_id,
            source_encryption_context=source_encryption_context or {},
            destination_encryption_context=destination_encryption_context or {},
            dry_run=dry_run,
        )
        return await self._call(self._keys.ReEncrypt, request)

    async def generate_data_key(
        self,
        key_id: str,
        encryption_context: Context | None = None,
        *,
        number_of_bytes: int = 32,
        dry_run: bool = False,
    ) -> pb.GenerateDataKeyResponse:
        """A fresh data key of 1 to 1,024 bytes, in plaintext and encrypted under the key."""
        request = pb.GenerateDataKeyRequest(
            key_id=key_id, encryption_context=encryption_context or {}, number_of_bytes=number_of_bytes, dry_run=dry_run
        )
        return await self._call(self._keys.GenerateDataKey, request)

    async def generate_data_key_without_plaintext(
        self,
        key_id: str,
        encryption_context: Context | None = None,
        *,
        number_of_bytes: int = 32,
        dry_run: bool = False,
    ) -> pb.GenerateDataKeyWithoutPlaintextResponse:
        """A fresh data key of 1 to 1,024 bytes, encrypted only."""
        request = pb.GenerateDataKeyWithoutPlaintextRequest(
            key_id=key_id, encryption_context=encryption_context or {}, number_of_bytes=number_of_bytes, dry_run=dry_run
        )
        return await self._call(self._keys.GenerateDataKeyWithoutPlaintext, request)

    async def generate_random(self, number_of_bytes: int) -> pb.GenerateRandomResponse:
        """1 to 1,024 random bytes."""
        return await self._call(self._keys.GenerateRandom, pb.GenerateRandomRequest(number_of_bytes=number_of_bytes))

    # --- the server -----------------------------------------------------------------------------------------------

    async def get_limits(self) -> envelope_pb2.GetLimitsResponse:
        return await self._call(self._envelopes.GetLimits, envelope_pb2.GetLimitsRequest())
