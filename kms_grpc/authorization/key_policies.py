"""The policies of keys, compiled once per version of their text.

A key has the policy that a caller stored, whose digest stands in the key's row, or else the default one. An AWS managed
key has the policy that AWS gives it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from kms_grpc.authorization.base import PolicyKind
from kms_grpc.authorization.default_key_policy import NAME, default_key_policy, default_statements
from kms_grpc.authorization.managed_key_policy import managed_key_policy, managed_statements
from kms_grpc.authorization.parsing import parse
from kms_grpc.authorization.policy import Statements
from kms_grpc.errors import KeyUnavailableException, KMSError
from kms_grpc.model.key import Key, KeyKind

TextOf = Callable[[Key], str]
"""Reads the stored policy of a key, or of the same key with a newer one."""

CACHED_CHARACTERS: Final = 8 * 1024 * 1024
"""Characters of policies that a worker keeps compiled, in all."""
_KEYS: Final = 8192
"""Keys whose policies a worker has found to be those of their digests."""


def text_of(key: Key, stored: TextOf) -> str:
    """Returns the text of a key's policy."""
    if key.kind is not KeyKind.CUSTOMER_MANAGED:
        return managed_key_policy(key)
    return default_key_policy(key) if key.policy_digest is None else stored(key)


def compiled(text: str) -> Statements:
    """Returns a compiled key policy. Raises MalformedPolicyDocumentException with the place of the error, and
    LimitExceededException over 32 KiB."""
    return Statements(parse(text, PolicyKind.KEY, NAME))


class StoredKeyPolicies:
    """Gives the compiled policy of any key. Thread-safe: two threads may compile one policy twice."""

    def __init__(self, stored: TextOf, cached_characters: int = CACHED_CHARACTERS) -> None:
        self._stored = stored
        self._limit = cached_characters
        self._by_key: dict[tuple[str, bytes], Statements] = {}
        """The policies by ARN and digest. Each was read for that key."""
        self._by_digest: dict[bytes, Statements] = {}
        self.cached = 0
        """Characters of the policies that are kept."""

    def __call__(self, key: Key) -> Statements:
        """Returns the compiled policy of a key. Raises KeyUnavailableException where the stored policy is not the one
        of its digest."""
        if key.policy_digest is None:
            return default_statements(key) if key.kind is KeyKind.CUSTOMER_MANAGED else managed_statements(key)
        found = self._by_key.get((key.arn, key.policy_digest))
        return self._read(key) if found is None else found

    def _read(self, key: Key) -> Statements:
        text = self._stored(key)
        digest = hashlib.sha256(text.encode()).digest()
        found = self._by_digest.get(digest)
        if found is None:
            found = _unless_unreadable(key, text)
            self._make_room(len(text))
            self._by_digest[digest] = found
        if len(self._by_key) >= _KEYS:
            self._by_key.clear()
        self._by_key[key.arn, digest] = found
        return found

    def _make_room(self, characters: int) -> None:
        """Forgets all policies where one more would be too much: to compile one again takes less than a millisecond."""
        if self.cached + characters > self._limit:
            self._by_key.clear()
            self._by_digest.clear()
            self.cached = 0
        self.cached += characters


def _unless_unreadable(key: Key, text: str) -> Statements:
    """Returns a stored policy compiled. It was read when it was stored; a later version may read less."""
    try:
        return compiled(text)
    except KMSError as error:
        said = f"{key.arn} is unavailable: its key policy cannot be read. {error.text}"
        raise KeyUnavailableException(said, key=key.arn, state=key.state) from None
