# Made by `python build.py --client` from kms_grpc/client/methods/tags.py: do not edit.
"""Methods that set, remove and list the tags of a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kms_grpc.client.aio.service_client import AsyncServiceClient
from kms_grpc.client.arguments import tags_of
from kms_grpc.v1 import key_management_pb2 as pb


class AsyncTagMethods(AsyncServiceClient):
    """Tags of keys. A key is named by its id or ARN, not by an alias."""

    async def tag_resource(self, key_id: str, tags: Mapping[str, str]) -> pb.TagResourceResponse:
        """Sets tags. A tag that the key already has gets the new value."""
        return await self._call(self._keys.TagResource, pb.TagResourceRequest(key_id=key_id, tags=tags_of(tags)))

    async def untag_resource(self, key_id: str, tag_keys: Sequence[str]) -> pb.UntagResourceResponse:
        """Removes tags. Ignores those that the key does not have."""
        return await self._call(self._keys.UntagResource, pb.UntagResourceRequest(key_id=key_id, tag_keys=tag_keys))

    async def list_resource_tags(
        self, key_id: str, *, limit: int | None = None, marker: str | None = None
    ) -> pb.ListResourceTagsResponse:
        """Returns a page of at most `limit` tags (1 to 50). A key has at most 50 tags."""
        request = pb.ListResourceTagsRequest(key_id=key_id, limit=limit, marker=marker)
        return await self._call(self._keys.ListResourceTags, request)
