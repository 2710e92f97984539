"""Rows of key policies. The key's own row has the digest of its policy, so that an older row, or none, is noticed."""

from __future__ import annotations

import hashlib

from sqlalchemy import bindparam, delete, insert

from kms_grpc.model.key import Key
from kms_grpc.registry.sql.reader import DIGEST, Reader
from kms_grpc.registry.sql.rows import RowKind, digest
from kms_grpc.registry.sql.tables import key_policies
from kms_grpc.registry.sql.writer import OF_KEY, Writer

KEY_POLICY = RowKind(key_policies, lambda place, values: f"key policy of key {place.key_arn(values)}")

_BY_NAME = KEY_POLICY.select.where(key_policies.c.key_id == bindparam("key_id"))
_BY_DIGEST = KEY_POLICY.select.where(key_policies.c.digest == DIGEST)
_ADD = insert(key_policies)
_REMOVE = delete(key_policies).where(key_policies.c.key_id == OF_KEY)


class SqlKeyPolicies:
    """Implements base.KeyPolicies."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def find(self, key: Key) -> str:
        row, _ = self._reader.find(KEY_POLICY, _BY_NAME, _BY_DIGEST, key_id=key.key_id)
        text = None if row is None else str(KEY_POLICY.values(row)["policy"])
        if text is None or policy_digest(text) != key.policy_digest:
            raise self._reader.damage.unavailable(key.arn, "key policy")
        return text


class SqlWritableKeyPolicies:
    """Writes rows of key policies."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def set(self, key: Key, policy: str) -> None:
        """Stores the policy of a key, or replaces it. The key's row must get its digest."""
        self.remove_all(key.key_id)
        values = {"key_id": key.key_id, "digest": digest(key.key_id), "account": key.account, "policy": policy}
        self._writer.add(_ADD, KEY_POLICY, values, f"{key.arn} has a key policy")

    def remove_all(self, key_id: str) -> None:
        """Removes the policy of a key if it has one."""
        self._writer.remove(_REMOVE, KEY_POLICY, {"of_key_id": key_id})


def policy_digest(policy: str) -> bytes:
    """Returns SHA-256 of a policy's text in UTF-8, 32 bytes."""
    return hashlib.sha256(policy.encode("utf-8", "surrogateescape")).digest()
