# Made by `python build.py --client` from kms_grpc/client/methods/keys.py: do not edit.
"""Methods that create, describe, list, enable, disable and rename keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from kms_grpc.client.aio.service_client import AsyncServiceClient
from kms_grpc.client.arguments import by_aws_name, tags_of
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2


class AsyncKeyMethods(AsyncServiceClient):
    """Operations on a key itself."""

    async def create_key(
        self,
        description: str = "",
        *,
        origin: str | None = None,
        tags: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> pb.CreateKeyResponse:
        """Creates a symmetric key. For 24 hours, calls with the same `request_id` (default: a new one) return the same
        key.

        origin: AWS_KMS (the default), or EXTERNAL for a key whose key material is imported.
        """
        request = pb.CreateKeyRequest(
            description=description, origin=by_aws_name(keys_pb2.OriginType, origin), tags=tags_of(tags or {})
        )
        return await self._create(self._keys.CreateKey, request, request_id)

    async def describe_key(self, key_id: str) -> pb.DescribeKeyResponse:
        """Returns the metadata of a key."""
        return await self._call(self._keys.DescribeKey, pb.DescribeKeyRequest(key_id=key_id))

    async def list_keys(self, *, limit: int | None = None, marker: str | None = None) -> pb.ListKeysResponse:
        """Returns a page of at most `limit` keys (1 to 1,000). See `all_keys`."""
        return await self._call(self._keys.ListKeys, pb.ListKeysRequest(limit=limit, marker=marker))

    async def all_keys(self) -> AsyncIterator[keys_pb2.KeyListEntry]:
        """Yields all keys of the account in the region, page by page."""
        page = await self.list_keys(limit=1000)
        for entry in page.keys:
            yield entry
        while page.truncated:
            page = await self.list_keys(limit=1000, marker=page.next_marker)
            for entry in page.keys:
                yield entry

    async def enable_key(self, key_id: str) -> pb.EnableKeyResponse:
        """Enables a disabled key."""
        return await self._call(self._keys.EnableKey, pb.EnableKeyRequest(key_id=key_id))

    async def disable_key(self, key_id: str) -> pb.DisableKeyResponse:
        """Disables a key: the service refuses to encrypt or decrypt with it."""
        return await self._call(self._keys.DisableKey, pb.DisableKeyRequest(key_id=key_id))

    async def update_key_description(self, key_id: str, description: str) -> pb.UpdateKeyDescriptionResponse:
        """Replaces the description of a key."""
        request = pb.UpdateKeyDescriptionRequest(key_id=key_id, description=description)
        return await self._call(self._keys.UpdateKeyDescription, request)

    async def get_key_policy(self, key_id: str, *, policy_name: str | None = None) -> pb.GetKeyPolicyResponse:
        """Returns the key policy in JSON. `policy_name` can only be default, which is the default."""
        return await self._call(self._keys.GetKeyPolicy, pb.GetKeyPolicyRequest(key_id=key_id, policy_name=policy_name))
