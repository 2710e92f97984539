"""Rows of tags."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, bindparam, delete, insert

from kms_grpc.model.key import Tag
from kms_grpc.registry.sql.reader import AFTER, LIMIT, Reader
from kms_grpc.registry.sql.rows import RowKind
from kms_grpc.registry.sql.tables import tags
from kms_grpc.registry.sql.writer import OF_KEY, Writer

TAG = RowKind(tags, lambda place, values: f"tag {values['tag_key']} of key {place.key_arn(values)}")

_LIST = TAG.select.where(and_(tags.c.key_id == OF_KEY, tags.c.tag_key > AFTER)).order_by(tags.c.tag_key).limit(LIMIT)
_ADD = insert(tags)
_REMOVE = delete(tags).where(and_(tags.c.key_id == OF_KEY, tags.c.tag_key == bindparam("of_tag_key")))
_REMOVE_ALL = delete(tags).where(tags.c.key_id == OF_KEY)


class SqlTags:
    """Implements base.Tags."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def list_after(self, key_id: str, tag_key: str, limit: int) -> Sequence[Tag]:
        rows = self._reader.page(TAG, _LIST, {"of_key_id": key_id, "after": tag_key}, limit)
        return [Tag(**TAG.values(row)) for row in rows]


class SqlWritableTags(SqlTags):
    """Implements base.WritableTags."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._writer = writer

    def set(self, tag: Tag) -> None:
        self.remove(tag.key_id, tag.tag_key)
        values = {"key_id": tag.key_id, "tag_key": tag.tag_key, "account": tag.account, "tag_value": tag.tag_value}
        self._writer.add(_ADD, TAG, values, f"Key {tag.key_id} has the tag {tag.tag_key}")

    def remove(self, key_id: str, tag_key: str) -> None:
        self._writer.remove(_REMOVE, TAG, {"of_key_id": key_id, "of_tag_key": tag_key})

    def remove_all(self, key_id: str) -> None:
        """Removes all tags of a key."""
        self._writer.remove(_REMOVE_ALL, TAG, {"of_key_id": key_id})
