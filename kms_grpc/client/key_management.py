"""KeyManagementClient: one method per operation, thin over the generated stubs.

Methods take what the operation needs as arguments, enum values by AWS's names, and return the answer's message. A key
is named by its id, its ARN, its alias or its alias' ARN, as AWS KMS has it. Refused calls raise the error's class of
`kms_grpc.errors`, with `text`, `key`, `state`, `region` and `request_id`; a service that cannot be reached raises
ClientError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kms_grpc.client.arguments import Context, by_aws_name, tags_of
from kms_grpc.client.batches import BatchCalls
from kms_grpc.v1 import envelope_pb2, keys_pb2
from kms_grpc.v1 import key_management_pb2 as pb


class KeyManagementClient(BatchCalls):
    """A connection to the service. Threads may share it; a forked child opens one of its own by itself."""

    # --- keys -----------------------------------------------------------------------------------------------------

    def create_key(
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
        return self._create(self._keys.CreateKey, request, request_id)

    def describe_key(self, key_id: str) -> pb.DescribeKeyResponse:
        return self._call(self._keys.DescribeKey, pb.DescribeKeyRequest(key_id=key_id))

    def list_keys(self, *, limit: int | None = None, marker: str | None = None) -> pb.ListKeysResponse:
        """One page of at most `limit` keys (1 to 1,000); `all_keys` walks over all of them."""
        return self._call(self._keys.ListKeys, pb.ListKeysRequest(limit=limit, marker=marker))

    def all_keys(self) -> Iterator[keys_pb2.KeyListEntry]:
        """All keys of the account in the region, page by page."""
        page = self.list_keys(limit=1000)
        yield from page.keys
        while page.truncated:
            page = self.list_keys(limit=1000, marker=page.next_marker)
            yield from page.keys

    def enable_key(self, key_id: str) -> pb.EnableKeyResponse:
        return self._call(self._keys.EnableKey, pb.EnableKeyRequest(key_id=key_id))

    def disable_key(self, key_id: str) -> pb.DisableKeyResponse:
        return self._call(self._keys.DisableKey, pb.DisableKeyRequest(key_id=key_id))

    def update_key_description(self, key_id: str, description: str) -> pb.UpdateKeyDescriptionResponse:
        request = pb.UpdateKeyDescriptionRequest(key_id=key_id, description=description)
        return self._call(self._keys.UpdateKeyDescription, request)

    # --- aliases --------------------------------------------------------------------------------------------------

    def create_alias(
        self, alias_name: str, target_key_id: str, *, request_id: str | None = None
    ) -> pb.CreateAliasResponse:
        request = pb.CreateAliasRequest(alias_name=alias_name, target_key_id=target_key_id)
        return self._create(self._keys.CreateAlias, request, request_id)

    def update_alias(self, alias_name: str, target_key_id: str) -> pb.UpdateAliasResponse:
        request = pb.UpdateAliasRequest(alias_name=alias_name, target_key_id=target_key_id)
        return self._call(self._keys.UpdateAlias, request)

    def delete_alias(self, alias_name: str) -> pb.DeleteAliasResponse:
        """Not repeated when the connection breaks: a second DeleteAlias would answer NotFoundException."""
        return self._call(self._keys.DeleteAlias, pb.DeleteAliasRequest(alias_name=alias_name))

    def list_aliases(
        self, *, key_id: str | None = None, limit: int | None = None, marker: str | None = None
    ) -> pb.ListAliasesResponse:
        """One page of at most `limit` aliases (1 to 100), all or one key's; `all_aliases` walks over all of them."""
        return self._call(self._keys.ListAliases, pb.ListAliasesRequest(key_id=key_id, limit=limit, marker=marker))

    def all_aliases(self, key_id: str | None = None) -> Iterator[keys_pb2.AliasListEntry]:
        """All aliases of the account in the region, or of one key, page by page."""
        page = self.list_aliases(key_id=key_id, limit=100)
        yield from page.aliases
        while page.truncated:
            page = self.list_aliases(key_id=key_id, limit=100, marker=page.next_marker)
            yield from page.aliases

    # --- encryption -----------------------------------------------------------------------------------------------

    def encrypt(
        self, key_id: str, plaintext: bytes, encryption_context: Context | None = None, *, dry_run: bool = False
    ) -> pb.EncryptResponse:
        """Encrypt 1 to 4,096 bytes. Whoever decrypts must give the same encryption context."""
        request = pb.EncryptRequest(
            key_id=key_id, plaintext=plaintext, encryption_context=encryption_context or {}, dry_run=dry_run
        )
        return self._call(self._keys.Encrypt, request)

    def decrypt(
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
        return self._call(self._keys.Decrypt, request)

    def re_encrypt(
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
        return self._call(self._keys.ReEncrypt, request)

    def generate_data_key(
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
        return self._call(self._keys.GenerateDataKey, request)

    def generate_data_key_without_plaintext(
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
        return self._call(self._keys.GenerateDataKeyWithoutPlaintext, request)

    def generate_random(self, number_of_bytes: int) -> pb.GenerateRandomResponse:
        """1 to 1,024 random bytes."""
        return self._call(self._keys.GenerateRandom, pb.GenerateRandomRequest(number_of_bytes=number_of_bytes))

    # --- the server -----------------------------------------------------------------------------------------------

    def get_limits(self) -> envelope_pb2.GetLimitsResponse:
        return self._call(self._envelopes.GetLimits, envelope_pb2.GetLimitsRequest())
