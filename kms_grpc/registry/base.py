"""What every storage engine offers, and what a shard is made of.

One `Registry` is the store of one region. Reading methods see the last commit. All writing happens in a `Transaction`,
which is whole or not at all, is serialised against other writers of the shard, and adds a row to the change log for
every key, alias and access key it touches. Rows carry a MAC over all their columns: a row that was changed on disk
raises KeyUnavailableException naming the key or alias, wherever it is read by name, and is left out of listings.

Nothing here holds plaintext key material: materials are wrapped under the region's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from kms_grpc.model.access_key import AccessKey
from kms_grpc.model.key import Alias, ImportPair, Key, Material, Tag


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A shard's own row: what it belongs to, and its region key under the root key. A damaged one stops the start."""

    partition: str
    region: str
    account: str
    """The service's own account, 12 digits."""
    root_fingerprint: str
    wrapped_region_key: bytes
    created_ns: int


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change log: what a commit touched. `name` is a key id, `<account>/alias/<name>`, or an access
    key id."""

    sequence: int
    kind: str
    """`key`, `alias` or `access key`."""
    name: str


@dataclass(frozen=True, slots=True)
class RememberedAnswer:
    """The answer once given to (account, operation, request id); repeated for 24 hours to the same request."""

    account: str
    operation: str
    request_id: str
    request_digest: bytes
    response: bytes
    created_ns: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An audit record that was committed with the write it tells of, waiting to be copied into the log."""

    event_id: str
    account: str
    record: bytes
    """JSON, one object, as it will stand in the log."""


class Due(Enum):
    """What happens to keys by the clock."""

    DELETION = "deletion"
    """Keys that are pending deletion, the window over."""
    ROTATION = "rotation"
    """Enabled keys that rotate automatically."""
    EXPIRY = "expiry"
    """Keys with a material that expires, in any state."""


@dataclass(frozen=True, slots=True)
class Upcoming:
    """What will happen to the keys of a shard, for its metrics. Times are ns since 1970, None for never."""

    pending_deletions: int
    """Keys that are pending deletion, replicas' primaries among them."""
    next_deletion_ns: int | None
    next_expiry_ns: int | None


class Reading(Protocol):
    """Look-ups that a registry and a transaction share."""

    def find_key(self, key_id: str) -> Key | None: ...

    def find_alias(self, account: str, name: str) -> Alias | None: ...

    def count_keys(self, account: str) -> int:
        """Customer managed keys of the account, in all states."""

    def count_aliases(self, key_id: str) -> int: ...

    def find_material(self, key_id: str, material_id: bytes) -> Material | None: ...

    def materials_after(self, key_id: str, number: int, limit: int) -> Sequence[Material]:
        """At most `limit` materials of the key in the order of rotation, after `number` (-1: from the first)."""

    def tags_after(self, key_id: str, tag_key: str, limit: int) -> Sequence[Tag]:
        """At most `limit` tags of the key by their tag keys, after `tag_key` ("": from the first)."""

    def find_access_key(self, access_key_id: str) -> AccessKey | None: ...

    def find_pair(self, pair_id: bytes) -> ImportPair | None:
        """KMSInternalException where its row was changed on disk."""

    def latest_ns(self) -> int:
        """The latest time that was recorded, ns since 1970; 0 before the first. KMSInternalException where it was
        changed on disk."""


class Transaction(Reading, Protocol):
    """One write. Leaving `Registry.writing()` normally commits durably, leaving it by an exception undoes all."""

    @property
    def changed(self) -> bool:
        """Whether a key or an alias was touched, so that caches have to hear of it."""

    @property
    def created(self) -> Sequence[tuple[Key, Material | None]]:
        """What add_key and make_current stored, to be read back after the commit."""

    def add_key(self, key: Key, material: Material | None) -> Key:
        """Store a new key and its first material; returns the key with its sequence."""

    def change_key(self, key: Key) -> Key:
        """Store `key` over the row of the revision it carries; returns it with the next revision. ConflictException if
        the row moved on."""

    def remove_key(self, key: Key) -> None:
        """Remove the key of the revision it carries with all its materials, aliases, tags and import pairs.
        ConflictException if the row moved on. See Registry.erase_removed."""

    def add_material(self, material: Material) -> Material:
        """Store a further material of a key; returns it with its number. Whatever key-level columns follow from it are
        for change_key. AlreadyExistsException where the key has it, there or not."""

    def change_material(self, material: Material) -> Material:
        """As change_key."""

    def remove_material(self, material: Material) -> None:
        """Remove a material's row: one that was never current. Others keep theirs, with `wrapped` None."""

    def make_current(self, key: Key, material: Material) -> Key:
        """Let `key` encrypt under `material`, which is new or was stored before; the former current one decrypts only
        from now on. Stores both, as they are given otherwise; returns the key with the next revision."""

    def set_tag(self, tag: Tag) -> None:
        """Add a tag, or give it another value."""

    def remove_tag(self, key_id: str, tag_key: str) -> None:
        """Nothing happens where there is none."""

    def ready_pair(self, spec: str) -> ImportPair | None:
        """The oldest pair that was given to no key yet."""

    def add_pair(self, pair: ImportPair) -> ImportPair: ...

    def change_pair(self, pair: ImportPair) -> ImportPair:
        """As change_key."""

    def remove_pair(self, pair: ImportPair) -> None:
        """As change_key: of several calls with one pair, one removes it, the others get ConflictException."""

    def advance_latest(self, time_ns: int) -> int:
        """Record a time; returns the latest there is, which never goes back."""

    def add_alias(self, alias: Alias) -> Alias:
        """AlreadyExistsException where (account, name) is taken."""

    def change_alias(self, alias: Alias) -> Alias:
        """As change_key."""

    def remove_alias(self, alias: Alias) -> None: ...

    def add_access_key(self, access_key: AccessKey) -> None: ...

    def remove_access_key(self, access_key_id: str) -> None:
        """Nothing happens where there is none."""

    def find_answer(self, account: str, operation: str, request_id: str) -> RememberedAnswer | None: ...

    def remember(self, answer: RememberedAnswer) -> None:
        """Keep an answer, in the place of an older one to the same request id."""

    def record(self, row: OutboxRow) -> None: ...


class Registry(Reading, Protocol):
    """The store of one region. Thread-safe. Raises DependencyTimeoutException where the store cannot be read or written
    for now (a full disk says so by name)."""

    def shard_row(self) -> ShardRow: ...

    def writing(self) -> AbstractContextManager[Transaction]: ...

    def keys_after(self, account: str, sequence: int, limit: int) -> Sequence[Key]:
        """At most `limit` keys of the account in order of creation, after `sequence` (0: from the first)."""

    def aliases_after(self, account: str, key_id: str | None, sequence: int, limit: int) -> Sequence[Alias]: ...

    def access_keys(self) -> Sequence[AccessKey]:
        """All of them, the oldest first."""

    def last_change(self) -> int: ...

    def changes_after(self, sequence: int, limit: int) -> Sequence[Change]: ...

    def outbox(self, limit: int) -> Sequence[OutboxRow]:
        """The oldest rows that wait to be copied into the audit log."""

    def clear_outbox(self, event_ids: Sequence[str]) -> None: ...

    def forget_answers_before(self, created_ns: int) -> int:
        """Remove remembered answers older than that; returns how many."""

    def keys_due(self, due: Due, before_ns: int, limit: int) -> Sequence[Key]:
        """At most `limit` keys for which something is due at `before_ns`, the longest due first; damaged ones never."""

    def upcoming(self) -> Upcoming: ...

    def count_ready_pairs(self, spec: str) -> int: ...

    def remove_expired_pairs(self, before_ns: int) -> int:
        """Remove pairs that expire until then; returns how many."""

    def erase_removed(self) -> bool:
        """See to it that what was removed is in none of the store's files any more. False where others kept it from
        doing so for now: call again."""

    def damaged_rows(self) -> Sequence[str]:
        """Names of all rows whose MAC fails, and of counts that are wrong: a full scan, for `kms-grpc check`."""

    def close(self) -> None: ...
