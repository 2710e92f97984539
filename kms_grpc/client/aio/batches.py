"""Made by `python build.py --client` from ../batches.py: do not edit.

Batches as Python calls: many items in one, each with its own result or error.

    answer = kms.encrypt_batch([pb.EncryptBatchItem(plaintext=text) for text in texts], key_id="alias/app")
    for result in answer.results:
        if (error := item_error(result)) is not None: ...
        result.ciphertext_blob, answer.keys[result.key].key_id

An item may have a key and an encryption context of its own; `key_id` and `encryption_context` are for those without.
At most 10,000 items; request and answer within the server's message size (`get_limits().batches`).
"""

from __future__ import annotations

from collections.abc import Iterable

from kms_grpc.client.aio.key_life import AsyncKeyLifeCalls
from kms_grpc.client.arguments import Context
from kms_grpc.v1 import envelope_pb2 as pb


class AsyncBatchCalls(AsyncKeyLifeCalls):
    """One call for many items, in their order."""

    async def encrypt_batch(
        self, items: Iterable[pb.EncryptBatchItem], *, key_id: str = "", encryption_context: Context | None = None
    ) -> pb.EncryptBatchResponse:
        """Encrypt plaintexts of 1 to 65,536 bytes each. `decrypt` opens what comes back as well."""
        request = pb.EncryptBatchRequest(key_id=key_id, encryption_context=encryption_context or {}, items=items)
        return await self._call(self._envelopes.EncryptBatch, request)

    async def decrypt_batch(
        self, items: Iterable[pb.DecryptBatchItem], *, key_id: str = "", encryption_context: Context | None = None
    ) -> pb.DecryptBatchResponse:
        """Decrypt ciphertext blobs. They name their keys themselves; a given `key_id` must be theirs."""
        request = pb.DecryptBatchRequest(key_id=key_id, encryption_context=encryption_context or {}, items=items)
        return await self._call(self._envelopes.DecryptBatch, request)

    async def re_encrypt_batch(
        self,
        items: Iterable[pb.ReEncryptBatchItem],
        *,
        destination_key_id: str = "",
        source_key_id: str = "",
        source_encryption_context: Context | None = None,
        destination_encryption_context: Context | None = None,
    ) -> pb.ReEncryptBatchResponse:
        """Encrypt ciphertext blobs again, under another key or context; no plaintext leaves the server."""
        request = pb.ReEncryptBatchRequest(
            destination_key_id=destination_key_id,
            source_key_id=source_key_id,
            source_encryption_context=source_encryption_context or {},
            destination_encryption_context=destination_encryption_context or {},
            items=items,
        )
        return await self._call(self._envelopes.ReEncryptBatch, request)

    async def generate_data_key_batch(
        self,
        items: Iterable[pb.GenerateDataKeyBatchItem],
        *,
        key_id: str = "",
        encryption_context: Context | None = None,
        number_of_bytes: int = 32,
    ) -> pb.GenerateDataKeyBatchResponse:
        """Data keys of 1 to 1,024 bytes, as many as each item's `count` says, in plaintext and encrypted."""
        request = pb.GenerateDataKeyBatchRequest(
            key_id=key_id, encryption_context=encryption_context or {}, number_of_bytes=number_of_bytes, items=items
        )
        return await self._call(self._envelopes.GenerateDataKeyBatch, request)
