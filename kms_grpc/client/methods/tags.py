"""Methods that set, remove and list the tags of a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kms_grpc.client.arguments import tags_of
from kms_grpc.client.service_client import ServiceClient
from kms_grpc.v1 import key_management_pb2 as pb


class TagMethods(ServiceClient):
    """Tags of keys. A key is named by its id or ARN, not by an alias."""

    def tag_resource(self, key_id: str, tags: Mapping[str, str]) -> pb.TagResourceResponse:
        """Sets tags. A tag that the key already has gets the new value."""
        return self._call(self._keys.TagResource, pb.TagResourceRequest(key_id=key_id, tags=tags_of(tags)))

    def untag_resource(self, key_id: str, tag_keys: Sequence[str]) -> pb.UntagResourceResponse:
        """Removes tags. Ignores those that the key does not have."""
        return self._call(self._keys.UntagResource, pb.UntagResourceRequest(key_id=key_id, tag_keys=tag_keys))

    def list_resource_tags(
        self, key_id: str, *, limit: int | None = None, marker: str | None = None
    ) -> pb.ListResourceTagsResponse:
        """Returns a page of at most `limit` tags (1 to 50). A key has at most 50 tags."""
        request = pb.ListResourceTagsRequest(key_id=key_id, limit=limit, marker=marker)
        return self._call(self._keys.ListResourceTags, request)
