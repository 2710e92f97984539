# Made by `python build.py --client` from kms_grpc/client/methods/batches.py: do not edit.
"""Methods that send a batch: many items in one call, each with its own result or error.

    answer = kms.encrypt_batch([pb.EncryptBatchItem(plaintext=text) for text in texts], key_id="alias/app")
    for result in answer.results:
        if (error := item_error(result)) is not None: ...
        result.ciphertext_blob, answer.keys[result.key].key_id

An item may have its own key and encryption context; `key_id` and `encryption_context` apply to items without their own.
A batch has at most 10,000 items, and request and response must fit into a message (`get_limits().batches`).
"""

from __future__ import annotations

from collections.abc import Iterable

from kms_grpc.client.aio.service_client import AsyncServiceClient
from kms_grpc.client.arguments import Context
from kms_grpc.v1 import envelope_pb2 as pb


class AsyncBatchMethods(AsyncServiceClient):
    """Batches. Results are in the order of the items."""

    async def encrypt_batch(
        self, items: Iterable[pb.EncryptBatchItem], *, key_id: str = "", encryption_context: Context | None = None
    ) -> pb.EncryptBatchResponse:
        """Encrypts plaintexts of 1 to 65,536 bytes each. `decrypt` takes the ciphertext blobs, too."""
        request = pb.EncryptBatchRequest(key_id=key_id, encryption_context=encryption_context or {}, items=items)
        return await self._call(self._envelopes.EncryptBatch, request)

    async def decrypt_batch(
        self, items: Iterable[pb.DecryptBatchItem], *, key_id: str = "", encryption_context: Context | None = None
    ) -> pb.DecryptBatchResponse:
        """Decrypts ciphertext blobs, which name their keys. With `key_id`, the service refuses blobs of other keys."""
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
        """Decrypts ciphertext blobs and encrypts them under another key or context, within the service."""
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
        """Generates data keys of 1 to 1,024 bytes, `count` for each item. Returns them in plaintext and encrypted."""
        request = pb.GenerateDataKeyBatchRequest(
            key_id=key_id, encryption_context=encryption_context or {}, number_of_bytes=number_of_bytes, items=items
        )
        return await self._call(self._envelopes.GenerateDataKeyBatch, request)
