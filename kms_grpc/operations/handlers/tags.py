"""TagResource, UntagResource, ListResourceTags, and the tags of CreateKey.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_TagResource.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kms_grpc.errors import TagException
from kms_grpc.model.key import Key, Tag
from kms_grpc.operations.call import Call
from kms_grpc.operations.handlers.pages import BY_TAG_KEY, page
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2

TAGS_PER_KEY: Final = 50
RESERVED_PREFIX: Final = "aws:"


def tag_resource(call: Call, request: pb.TagResourceRequest, key: Key) -> pb.TagResourceResponse:
    """Adds tags, and gives those that are there another value. All of them or none."""
    check_tags(request.tags)
    there = {tag.tag_key for tag in call.writing.tags.list_after(key.key_id, "", TAGS_PER_KEY + 1)}
    if len(there | {tag.tag_key for tag in request.tags}) > TAGS_PER_KEY:
        raise TagException("Too many tags", key=key.arn, state=key.state)
    set_tags(call, key, request.tags)
    return pb.TagResourceResponse()


def untag_resource(call: Call, request: pb.UntagResourceRequest, key: Key) -> pb.UntagResourceResponse:
    """A tag that is not there is no error."""
    for tag_key in request.tag_keys:
        _check_not_reserved(tag_key)
    for tag_key in request.tag_keys:
        call.writing.tags.remove(key.key_id, tag_key)
    return pb.UntagResourceResponse()


def list_resource_tags(call: Call, request: pb.ListResourceTagsRequest, key: Key) -> pb.ListResourceTagsResponse:
    """The key's tags by their tag keys."""
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
    """TagException, in AWS's words, for tags that no key may have or that name one key twice."""
    tag_keys = [tag.tag_key for tag in tags]
    if len(tag_keys) > TAGS_PER_KEY:
        raise TagException("Too many tags")
    if len(set(tag_keys)) < len(tag_keys):
        raise TagException("Duplicate tag keys")
    for tag_key in tag_keys:
        _check_not_reserved(tag_key)


def set_tags(call: Call, key: Key, tags: Iterable[keys_pb2.Tag]) -> None:
    """Tags that were checked, over those that there are."""
    for tag in tags:
        call.writing.tags.set(Tag(key.key_id, key.account, tag.tag_key, tag.tag_value))


def _check_not_reserved(tag_key: str) -> None:
    if tag_key.lower().startswith(RESERVED_PREFIX):
        raise TagException("Tags beginning with aws: are reserved")
