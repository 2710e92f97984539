"""The Protocols of grants, parts of a Registry and of a Transaction (base.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kms_grpc.model.grant import Grant, GrantOperation


class Grants(Protocol):
    """Reads grants. Listings are in order of creation, after `sequence` (0: from the first)."""

    def find(self, grant_id: str) -> Grant | None: ...

    def same_as(self, grant: Grant) -> Grant | None:
        """Returns the grant on the same key with the same name and parameters (grant_digests.parameters)."""

    def count(self, key_id: str) -> int:
        """Returns how many grants the key has."""

    def list_after(self, key_id: str, grantee: str | None, sequence: int, limit: int) -> Sequence[Grant]:
        """Returns at most `limit` grants of the key, or those to one grantee."""

    def retirable_after(self, retiring: str, account: str | None, sequence: int, limit: int) -> Sequence[Grant]:
        """Returns at most `limit` grants of that retiring principal; with `account` those on keys of the account."""

    def allowing(
        self, key_id: str, grantee: str, operation: GrantOperation, selected: bytes | None, sequence: int, limit: int
    ) -> Sequence[Grant]:
        """Returns at most `limit` grants of an operation to a grantee; with `selected` those with that selector
        (grant_digests.selector)."""


class WritableGrants(Grants, Protocol):
    """Writes grants. Each write touches the grant's key."""

    def add(self, grant: Grant) -> Grant:
        """Stores a new grant; returns it with its sequence."""

    def remove(self, grant: Grant) -> None:
        """Removes the grant. If several calls try, one removes it, and the others get ConflictException."""
