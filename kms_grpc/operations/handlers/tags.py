"""TagResource, UntagResource, ListResourceTags, and the tags of CreateKey.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_TagResource.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kms_grpc.errors import TagException
from kms_grpc.model.key import Key, Tag
from kms_grpc.operations.admission.selectors import by_id_or_arn
from kms_grpc.operations.call import Call
from kms_grpc.operations.handlers.pages import BY_TAG_KEY, page
from kms_grpc.operations.kinds.unary import Unary
from kms_grpc.operations.kinds.write import Write
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2

TAGS_PER_KEY: Final = 50
RESERVED_PREFIX: Final = "aws:"


def tag_resource(call: Call, request: pb.TagResourceRequest, key: Key) -> pb.TagResourceResponse:
    """Adds tags, and replaces the values of those that the key has. Sets all of them or none."""
    check_tags(request.tags)
    there = {tag.tag_key for tag in call.writing.tags.list_after(key.key_id, "", TAGS_PER_KEY + 1)}
    if len(there | {tag.tag_key for tag in request.tags}) > TAGS_PER_KEY:
        raise TagException("Too many tags", key=key.arn, state=key.state)
    set_tags(call, key, request.tags)
    return pb.TagResourceResponse()


def untag_resource(call: Call, request: pb.UntagResourceRequest, key: Key) -> pb.UntagResourceResponse:
    """Removes tags. Tags that the key does not have are ignored."""
    for tag_key in request.tag_keys:
        _check_not_reserved(tag_key)
    for tag_key in request.tag_keys:
        call.writing.tags.remove(key.key_id, tag_key)
    return pb.UntagResourceResponse()


def list_resource_tags(call: Call, request: pb.ListResourceTagsRequest, key: Key) -> pb.ListResourceTagsResponse:
    """Lists the key's tags, ordered by tag key."""
    registry = call.shard.registry
    tags, marker = page(
        call,
        request,
        key.key_id,
        lambda after, count: registry.tags.list_after(key.key_id, after, count),
        BY_TAG_KEY,
    )
    entries = [keys_pb2.Tag(tag_key=tag.tag_key, tag_value=tag.tag_value) for tag in tags]
    return pb.ListResourceTagsResponse(tags=entries, truncated=marker is not None, next_marker=marker)


def check_tags(tags: Iterable[keys_pb2.Tag]) -> None:
    """Raises TagException for too many tags, a tag key given twice, and tag keys that begin with aws:."""
    tag_keys = [tag.tag_key for tag in tags]
    if len(tag_keys) > TAGS_PER_KEY:
        raise TagException("Too many tags")
    if len(set(tag_keys)) < len(tag_keys):
        raise TagException("Duplicate tag keys")
    for tag_key in tag_keys:
        _check_not_reserved(tag_key)


def set_tags(call: Call, key: Key, tags: Iterable[keys_pb2.Tag]) -> None:
    """Sets tags that `check_tags` has passed."""
    for tag in tags:
        call.writing.tags.set(Tag(key.key_id, key.account, tag.tag_key, tag.tag_value))


def _check_not_reserved(tag_key: str) -> None:
    if tag_key.lower().startswith(RESERVED_PREFIX):
        raise TagException("Tags beginning with aws: are reserved")


ROWS = (
    Write("TagResource", pb.TagResourceRequest, tag_resource, keys=(by_id_or_arn("TagResource"),)),
    Write("UntagResource", pb.UntagResourceRequest, untag_resource, keys=(by_id_or_arn("UntagResource"),)),
    Unary("ListResourceTags", pb.ListResourceTagsRequest, list_resource_tags, keys=(by_id_or_arn("ListResourceTags"),)),
)
