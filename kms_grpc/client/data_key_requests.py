"""Requests for data keys: how the client calls the service for a data key, and how it keeps the data key it gets."""

from __future__ import annotations

from typing import Any, Final, Protocol

from kms_grpc.client.arguments import Context
from kms_grpc.client.data_key_cache import CachedKey, DataKeyCache, DataKeyRequest
from kms_grpc.client.failures import DeadlineExceeded
from kms_grpc.client.record_decryption import DATA_KEYS_PER_CALL
from kms_grpc.crypto.errors import KeyringFull
from kms_grpc.crypto.keyring import open_keyring
from kms_grpc.crypto.record import DataKey

KEYRING_RESERVE: Final = 16 * DATA_KEYS_PER_CALL
"""Keyring slots beyond the capacity of the cache, for data keys that are in use but no longer cached."""


class DataKeyOperations(Protocol):
    """The two operations that data keys need. KeyManagementClient has both, and so has AsyncKeyManagementClient."""

    def generate_data_key(self, key_id: str, encryption_context: Context | None = None) -> Any: ...
    def decrypt(self, ciphertext_blob: bytes, encryption_context: Context | None = None) -> Any: ...


def encryption_request(key_id: str, context: Context, canonical: bytes) -> DataKeyRequest:
    """Returns the request for a new data key. `canonical`: the context in canonical form."""
    return DataKeyRequest((key_id, canonical), key_id, None, dict(context))


def decryption_request(wrapped: bytes, context: Context, canonical: bytes) -> DataKeyRequest:
    """Returns the request for the data key that a record carries in wrapped form."""
    return DataKeyRequest(wrapped + canonical, None, wrapped, dict(context))


def send(kms: DataKeyOperations, request: DataKeyRequest) -> Any:
    """Calls GenerateDataKey or Decrypt. Returns the response, or an awaitable of it for an asyncio client."""
    if request.wrapped is not None:
        return kms.decrypt(request.wrapped, request.context)
    assert request.key_id is not None
    return kms.generate_data_key(request.key_id, request.context)


def import_data_key(cache: DataKeyCache, request: DataKeyRequest, response: Any, requested_at: float) -> CachedKey:
    """Imports the data key of a response into the keyring, and returns its entry for the cache.

    Evicts cached data keys while the keyring is full. Raises DeadlineExceeded if the response took longer than
    `max_age`, because a second call would hardly be faster.
    """
    if cache.clock() >= requested_at + cache.limits.max_age:
        raise DeadlineExceeded(
            f"the data key took longer to arrive than it may be used: {cache.limits.max_age} s (max_age)"
        )
    wrapped = request.wrapped if request.wrapped is not None else response.ciphertext_blob
    open_keyring(cache.limits.capacity + KEYRING_RESERVE)  # has an effect only in a process that was just forked
    while True:
        try:
            key = DataKey(response.plaintext, wrapped)
        except KeyringFull:
            if not cache.evict_oldest():
                raise
        else:
            return cache.new_entry(key, requested_at, encrypts=request.encrypts)
