# Made by `python build.py --client` from kms_grpc/client/methods/keys.py: do not edit.
"""Methods that create and list keys. DescribeKey, EnableKey, DisableKey and UpdateKeyDescription are in plain.py."""

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
        policy: str | None = None,
        bypass_policy_lockout_safety_check: bool = False,
        request_id: str | None = None,
    ) -> pb.CreateKeyResponse:
        """Creates a symmetric key. For 24 hours, calls with the same `request_id` (default: a new one) return the same
        key.

        origin: AWS_KMS (the default), or EXTERNAL for a key whose key material is imported.
        policy: The key policy, a JSON document of at most 32 KiB. Default: the default key policy.
        bypass_policy_lockout_safety_check: True accepts a policy that does not let the caller change it again.
        """
        request = pb.CreateKeyRequest(
            description=description,
            origin=by_aws_name(keys_pb2.OriginType, origin),
            tags=tags_of(tags or {}),
            policy=policy,
            bypass_policy_lockout_safety_check=bypass_policy_lockout_safety_check,
        )
        return await self._create(self._keys.CreateKey, request, request_id)

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
