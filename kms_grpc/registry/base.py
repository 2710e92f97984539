"""The contract of a storage engine.

A `Registry` is the store of one region. It and its transactions have a part for each kind of row (`keys`, `materials`,
`aliases`, …). The parts of a registry read the last commit. All writing happens in a `Transaction`, which commits as a
whole or not at all.

**Isolation.** Transactions that share one of these names behave as if they had run one after the other:

| name | a transaction shares it if it |
|---|---|
| a key id | reads or writes the key, a material, tag, grant or import pair of it, or counts its aliases or grants |
| an account | counts the account's keys, adds or removes one of them, or finds or remembers an answer of the account |
| an alias name of an account | finds, adds, changes or removes the alias |

That is all that is promised. Transactions that share none of these names may run at the same time and commit in any
order, and neither sees the other. A transaction that cannot be put in order with another one is refused with
ConflictException; nothing of it is stored, and the call may be repeated. Listings are no part of this promise: a page
shows what was committed when it was read.

**Damage.** Rows carry a MAC over all their columns. A row that was changed on disk raises KeyUnavailableException with
the name of the key or alias wherever it is found by name, and is left out of listings.

No row holds plaintext key material: materials are wrapped under the region's key.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import AbstractContextManager
from typing import Protocol

from kms_grpc.model.access_key import AccessKey
from kms_grpc.model.key import Alias, ImportPair, Key, Material, Tag
from kms_grpc.registry.change import Change, Name
from kms_grpc.registry.grants import Grants, WritableGrants
from kms_grpc.registry.guarded import Guarded
from kms_grpc.registry.rows import Due, OutboxRow, RememberedAnswer, Upcoming

# --- parts -------------------------------------------------------------------------------------------------------


class Keys(Protocol):
    """Reads keys."""

    def find(self, key_id: str) -> Key | None: ...

    def count(self, account: str) -> int:
        """Returns how many customer managed keys the account has, in all states."""

    def list_after(self, account: str, sequence: int, limit: int) -> Sequence[Key]:
        """Returns at most `limit` keys of the account in order of creation, after `sequence` (0: from the first)."""

    def due(self, due: Due, before_ns: int, limit: int) -> Sequence[Key]:
        """Returns at most `limit` keys for which something is due at `before_ns`, the longest due first. Keys whose row
        is damaged are never due."""

    def upcoming(self) -> Upcoming: ...


class WritableKeys(Keys, Protocol):
    """Writes keys."""

    def add(self, key: Key, material: Material | None) -> Key:
        """Stores a new key and its first material; returns the key with its sequence."""

    def change(self, key: Key) -> Key:
        """Stores `key` over the row of the revision that `key` carries, and returns it with the next revision.
        Raises ConflictException if the row has another revision."""

    def make_current(self, key: Key, material: Material) -> Key:
        """Makes `material`, which is new or stored already, the one that `key` encrypts under; the former current
        material only decrypts from then on. Stores the other columns of both as given. Returns the key with the next
        revision. Raises ConflictException as `change` does."""

    def set_policy(self, key: Key, policy: str) -> Key:
        """Stores the text of a key's policy and its digest in the key's row; returns the key with the next revision.
        Raises ConflictException as `change` does."""

    def remove(self, key: Key) -> None:
        """Removes the key of the revision that `key` carries, with its policy and all its materials, aliases, tags and
        import pairs.
        Raises ConflictException if the row has another revision. See Registry.erase_removed."""


class KeyPolicies(Protocol):
    """Reads key policies that callers have stored."""

    def find(self, key: Key) -> str:
        """Returns the text of the policy whose digest `key` carries. Raises KeyUnavailableException with the key's ARN
        if the stored policy is another one, is missing, or was changed on disk. Not for a key without a digest, which
        has the default policy."""


class Materials(Protocol):
    """Reads key materials."""

    def find(self, key_id: str, material_id: bytes) -> Material | None: ...

    def list_after(self, key_id: str, number: int, limit: int) -> Sequence[Material]:
        """Returns at most `limit` materials of the key in the order of rotation, after `number` (-1: from the
        first)."""


class WritableMaterials(Materials, Protocol):
    """Writes key materials. The key's own columns that follow from them are stored by WritableKeys.change."""

    def add(self, material: Material) -> Material:
        """Stores a further material of a key; returns it with its number. Raises AlreadyExistsException if the key has
        it, even if it was deleted or has expired."""

    def change(self, material: Material) -> Material:
        """Stores `material` over the row of the revision that it carries. Raises ConflictException if the row has
        another."""

    def remove(self, material: Material) -> None:
        """Removes the row of a material that was never current. Rows of other materials stay, with `wrapped` None.
        Raises ConflictException if the row has another revision."""


class Aliases(Protocol):
    """Reads aliases."""

    def find(self, account: str, name: str) -> Alias | None: ...

    def count(self, key_id: str) -> int:
        """Returns how many aliases point to the key."""

    def list_after(self, account: str, key_id: str | None, sequence: int, limit: int) -> Sequence[Alias]:
        """Returns at most `limit` aliases of the account, or those that point to `key_id`, in order of creation, after
        `sequence` (0: from the first)."""


class WritableAliases(Aliases, Protocol):
    """Writes aliases."""

    def add(self, alias: Alias) -> Alias:
        """Stores a new alias; returns it with its sequence. Raises AlreadyExistsException if its name is taken."""

    def change(self, alias: Alias) -> Alias:
        """Stores `alias` over the row of the revision that it carries. Raises ConflictException if the row has
        another."""

    def remove(self, alias: Alias) -> None:
        """Removes the alias of the revision that `alias` carries. Raises ConflictException if the row has another."""


class Tags(Protocol):
    """Reads tags of keys."""

    def list_after(self, key_id: str, tag_key: str, limit: int) -> Sequence[Tag]:
        """Returns at most `limit` tags of the key, sorted by the code points of their tag keys, after `tag_key`
        ("": from the first)."""


class WritableTags(Tags, Protocol):
    """Writes tags of keys."""

    def set(self, tag: Tag) -> None:
        """Adds a tag or replaces its value."""

    def remove(self, key_id: str, tag_key: str) -> None:
        """Removes a tag if the key has it."""


class Pairs(Protocol):
    """Reads pairs of import wrapping keys."""

    def find(self, pair_id: bytes) -> ImportPair | None:
        """Raises KMSInternalException if the row was changed on disk."""

    def oldest_ready(self, spec: str) -> ImportPair | None:
        """Returns the oldest pair of that spec that belongs to no key yet."""

    def count_ready(self, spec: str) -> int:
        """Returns how many pairs of that spec belong to no key yet."""


class WritablePairs(Pairs, Protocol):
    """Writes pairs of import wrapping keys."""

    def add(self, pair: ImportPair) -> ImportPair: ...

    def change(self, pair: ImportPair) -> ImportPair:
        """Stores `pair` over the row of the revision that it carries. Raises ConflictException if the row has
        another."""

    def remove(self, pair: ImportPair) -> None:
        """Removes the pair. If several calls try, one removes it, and the others get ConflictException."""

    def remove_expired(self, before_ns: int) -> int:
        """Removes the pairs that expire at `before_ns` or earlier; returns how many."""


class WritableAnswers(Protocol):
    """Reads and writes remembered answers."""

    def find(self, account: str, operation: str, request_id: str) -> RememberedAnswer | None: ...

    def remember(self, answer: RememberedAnswer) -> None:
        """Stores an answer; replaces an older one to the same request id."""

    def forget_before(self, created_ns: int) -> int:
        """Removes the answers that are older than that; returns how many."""


class Outbox(Protocol):
    """Reads audit records that wait to be copied into the log."""

    def oldest(self, limit: int) -> Sequence[OutboxRow]:
        """Returns at most `limit` records in the order in which they were added."""


class WritableOutbox(Outbox, Protocol):
    """Writes audit records that wait to be copied into the log."""

    def add(self, row: OutboxRow) -> None: ...

    def remove(self, event_ids: Sequence[str]) -> None:
        """Removes records that have been copied."""


class AccessKeys(Protocol):
    """Reads access keys."""

    def find(self, access_key_id: str) -> AccessKey | None: ...

    def list_all(self) -> Sequence[AccessKey]:
        """Returns all access keys, the oldest first."""


class WritableAccessKeys(AccessKeys, Protocol):
    """Writes access keys."""

    def add(self, access_key: AccessKey) -> None:
        """Stores a new access key. Raises AlreadyExistsException if the id is taken."""

    def remove(self, access_key_id: str) -> None:
        """Removes an access key if there is one of that id."""


class LatestTime(Protocol):
    """Reads the latest time that was recorded in the shard."""

    def read_ns(self) -> int:
        """Returns ns since 1970; 0 if no time was recorded yet. Raises KMSInternalException if its row was changed on
        disk."""


class WritableLatestTime(LatestTime, Protocol):
    """Records the time."""

    def advance(self, time_ns: int) -> int:
        """Records a time unless a later one is recorded; returns the latest, which never goes back."""

    def rewrite(self, time_ns: int = 0) -> None:
        """Records a time, or writes the recorded one again if that is later."""


class Changes(Protocol):
    """Reads the change log, which has an entry for each key, alias and access key that a commit touched.

    Entries of one name have growing numbers in the order of their commits. The order of entries of different names
    means nothing, and numbers may be missing. (Shard.catch_up relies on more, which SQLite gives: no number is missing,
    and no later commit has a lower number. An engine without that needs another cursor.)"""

    def last(self) -> int:
        """Returns the highest number; 0 if nothing was ever changed."""

    def list_after(self, sequence: int, limit: int) -> Sequence[Change]:
        """Returns at most `limit` entries in the order of their numbers, after `sequence`."""


# --- the registry ------------------------------------------------------------------------------------------------


class Transaction(Protocol):
    """One write. Leaving `Registry.writing()` normally commits durably; leaving it by an exception undoes all."""

    @property
    def keys(self) -> WritableKeys: ...

    @property
    def materials(self) -> WritableMaterials: ...

    @property
    def aliases(self) -> WritableAliases: ...

    @property
    def tags(self) -> WritableTags: ...

    @property
    def grants(self) -> WritableGrants: ...

    @property
    def pairs(self) -> WritablePairs: ...

    @property
    def answers(self) -> WritableAnswers: ...

    @property
    def outbox(self) -> WritableOutbox: ...

    @property
    def access_keys(self) -> WritableAccessKeys: ...

    @property
    def latest_time(self) -> WritableLatestTime: ...

    @property
    def touched(self) -> Set[Name]:
        """Names of the entries that caches and Permits must drop. A changed alias also touches the keys that it pointed
        to before and after."""

    @property
    def entries(self) -> int:
        """Returns how many entries the transaction has added to the change log."""

    @property
    def created(self) -> Sequence[tuple[Key, Material | None]]:
        """The keys and materials of keys.add and keys.make_current, to be read back after the commit."""


class Registry(Guarded, Protocol):
    """The store of one region. Thread-safe. Raises DependencyTimeoutException if the store cannot be read or written
    for now; the text names the cause, such as a full disk."""

    @property
    def keys(self) -> Keys: ...

    @property
    def policies(self) -> KeyPolicies: ...

    @property
    def materials(self) -> Materials: ...

    @property
    def aliases(self) -> Aliases: ...

    @property
    def tags(self) -> Tags: ...

    @property
    def grants(self) -> Grants: ...

    @property
    def pairs(self) -> Pairs: ...

    @property
    def outbox(self) -> Outbox: ...

    @property
    def access_keys(self) -> AccessKeys: ...

    @property
    def latest_time(self) -> LatestTime: ...

    @property
    def changes(self) -> Changes: ...

    def writing(self, spends_reserve: bool = False) -> AbstractContextManager[Transaction]:
        """Begins a transaction, which the end of the block commits. With `spends_reserve`, it may commit on a full
        disk."""

    def keep_reserve(self) -> None:
        """Fills up the disk space that is reserved for transactions with `spends_reserve`, as far as there is room."""

    def version(self) -> object:
        """Returns a value that differs from the one before each commit of any process, at the cost of one system
        call. It may differ where nothing was committed."""

    def erase_removed(self) -> bool:
        """Overwrites removed rows in all files of the store. False if others prevented that; call again then."""

    def close(self) -> None: ...
