"""The regions as a worker sees them: each with its registry, its region key, and bounded caches.

The caches of a region hold while its epoch (words.py) has the value that they were brought up to. A process that
commits bumps the epoch, and then the words of what it touched, after the commit and before its answer. `catch_up` reads
the epoch, then the change log, and drops exactly the changed entries. Loads and `catch_up` share one lock, so that a
load cannot put back an entry that a change has just dropped. Look-ups of cached entries take no lock. No lock is held
while a write waits for the disk, so reads never wait behind writers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from kms_grpc.clock import boot_ns
from kms_grpc.crypto import key_wrapping
from kms_grpc.crypto.ciphertext_blob import kid_of
from kms_grpc.crypto.framing import frame
from kms_grpc.crypto.keyring import evict
from kms_grpc.errors import KeyUnavailableException, NotFoundException
from kms_grpc.faults import fault_point
from kms_grpc.model.access_key import AccessKey
from kms_grpc.model.key import Alias, Key, Material
from kms_grpc.registry.base import Registry, Transaction
from kms_grpc.registry.basis import Basis
from kms_grpc.registry.change import Change
from kms_grpc.registry.generational_cache import GenerationalCache
from kms_grpc.registry.grant_search import GrantSearch, KeptLookUps
from kms_grpc.registry.loaded_materials import LoadedMaterials, WrappingPlace
from kms_grpc.registry.missing_material import missing_material
from kms_grpc.registry.words import RegionWords

T = TypeVar("T")

_log = logging.getLogger(__name__)

CACHED_KEYS = 8_192
"""Default number of keys, and as many aliases and materials, that a worker caches over all its regions."""

_CHANGES_AT_ONCE = 1_000
_UNKNOWN_LIMIT = 1_024
_DESCRIPTION_WEIGHT = 1_024
"""Characters of a description that take as much room as a key."""


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """The sizes of a worker's caches of one region."""

    region: str
    cached_keys: int
    cached_aliases: int
    cached_materials: int
    capacity: int


def _weight(key: Key) -> int:
    return 1 + len(key.description) // _DESCRIPTION_WEIGHT


class Shard:
    """One region in one worker. Thread-safe. `capacity` bounds keys, aliases and materials, each."""

    def __init__(
        self,
        partition: str,
        region: str,
        account: str,
        registry: Registry,
        region_key: int,
        words: RegionWords,
        capacity: int,
    ) -> None:
        self.partition = partition
        self.region = region
        self.account = account
        self.registry = registry
        self.region_key = region_key
        self.words = words
        self.epoch = words.epoch
        self._capacity = capacity
        self._lock = threading.RLock()
        self._place = WrappingPlace(partition, region, region_key)
        self._materials = LoadedMaterials(registry, self._place, self._lock, capacity)
        self.current_material = self._materials.current
        self.material = self._materials.find
        self.forget_material = self._materials.drop
        """Takes a material out of the cache after StaleHandle or KeyringLost; the next look-up loads it again."""
        self._keys: GenerationalCache[str, Key] = GenerationalCache(capacity, weigh=_weight)
        self._aliases: GenerationalCache[str, Alias] = GenerationalCache(capacity)
        self._access_keys: GenerationalCache[str, tuple[AccessKey, bytes]] = GenerationalCache(capacity)
        """Each with the lists that keep it valid (Basis.lists)."""
        self._grants = KeptLookUps(registry, words, capacity)
        self.grants = GrantSearch(registry.grants, self._grants.first_page)
        self._unknown: set[str] = set()
        self.seen_epoch = self.epoch.value
        """The epoch that the caches were last brought up to."""
        self._seen = registry.changes.last()
        self._was_replaced = False

    def is_served(self) -> bool:
        """Returns False if the shard's file was replaced or moved. From then on nothing is served from caches or by
        Permits, and the registry refuses. Workers ask once a second."""
        replaced = self.registry.is_replaced()
        if replaced:
            self.words.announce_all()
        if replaced and not self._was_replaced:
            _log.error("region %s is not served any more: its file was replaced while the server runs", self.region)
        self._was_replaced = replaced
        return not replaced

    # --- changes -------------------------------------------------------------------------------------------------

    def is_fresh(self) -> bool:
        """Returns whether nothing was committed since this worker last caught up."""
        return self.epoch.value == self.seen_epoch

    def catch_up(self) -> bool:
        """Drops what was changed since the last call from the caches; returns whether anything may have been
        dropped."""
        if self.is_fresh():
            return False
        with self._lock:
            value = self.epoch.value
            if value == self.seen_epoch:
                return False
            changes = self.registry.changes.list_after(self._seen, _CHANGES_AT_ONCE)
            self._unknown.clear()
            self._forget(changes)
            self.seen_epoch = value
            return bool(changes)

    @contextmanager
    def writing(self, spends_reserve: bool = False) -> Iterator[Transaction]:
        """Begins a transaction (Registry.writing). After the block it is durable, all workers of this host obey it, and
        the keys that it created were read back."""
        transaction: Transaction | None = None
        entries = 0
        try:
            with self.registry.writing(spends_reserve) as transaction:
                yield transaction
            entries = transaction.entries
        finally:  # a commit that failed may have been done nevertheless
            if transaction is not None and transaction.touched:
                self.words.announce(transaction.touched, entries)
                fault_point("epoch.after")
        self.catch_up()
        for key, material in transaction.created:
            self._read_back(key, material)

    # --- look-ups ------------------------------------------------------------------------------------------------

    def find_key(self, key_id: str) -> Key | None:
        """Returns the key, or None if the region has no such key. Raises KeyUnavailableException if its row was changed
        on disk."""
        key = self._keys.warm(key_id)
        return key if key is not None else self._load_key(key_id)

    def key_policy(self, key: Key) -> str:
        """Returns the text of the stored policy of a key. If the key has another policy by now, it is that one. Raises
        KeyUnavailableException if the policy is missing or was changed on disk, and NotFoundException if the key is
        gone."""
        while True:
            try:
                return self.registry.policies.find(key)
            except KeyUnavailableException:
                now = self.registry.keys.find(key.key_id)
                if now is None:
                    raise NotFoundException(f"Key '{key.arn}' does not exist") from None
                if now.policy_digest == key.policy_digest:
                    raise
                key = now

    def find_alias(self, account: str, name: str) -> Alias | None:
        """Returns the alias, or None if the account has no such alias in the region. Raises KeyUnavailableException if
        its row was changed on disk."""
        path = f"{account}/{name}"
        alias = self._aliases.warm(path)
        return alias if alias is not None else self._load_alias(account, name, path)

    def find_access_key(self, access_key_id: str) -> AccessKey | None:
        """Returns the access key, or None if there is none of that id. Raises KeyUnavailableException if its row was
        changed on disk."""
        found = self.warm_access_key(access_key_id)
        if found is not None:
            return found
        basis = Basis(self.words)
        basis.rely_on("access key", access_key_id)
        self.catch_up()
        with self._lock:
            name = f"access key {access_key_id}"
            if name in self._unknown:
                return None
            access_key = self.registry.access_keys.find(access_key_id)
            kept = None if access_key is None else (access_key, basis.lists())
            self._keep(self._access_keys, access_key_id, kept, name)
            return access_key

    def warm_access_key(self, access_key_id: str) -> AccessKey | None:
        """Returns the access key if it was used lately and no write has touched it since. Reads nothing from disk."""
        kept = self._access_keys.warm(access_key_id)
        return kept[0] if kept is not None and self.words.hold(kept[1], 0, boot_ns()) else None

    # --- under the region key ------------------------------------------------------------------------------------

    def generate_material(self, key_id: str, account: str, created_ns: int) -> Material:
        """Returns fresh material for a key, wrapped. Stores nothing."""
        material_id, wrapped = key_wrapping.generate_material(
            self.region_key, kid_of(key_id), self.material_place(key_id, account)
        )
        return Material(key_id, account, material_id, wrapped, created_ns)

    def material_place(self, key_id: str, account: str) -> bytes:
        """See WrappingPlace.of_key."""
        return self._place.of_key(key_id, account)

    def sign(self, data: bytes) -> bytes:
        """Returns a MAC of 32 bytes for data that callers must give back unchanged (page markers)."""
        return key_wrapping.mac(self.region_key, self._signed(data))

    def signed(self, data: bytes, mac: bytes) -> bool:
        """Returns whether `mac` is this region's MAC of `data`."""
        return key_wrapping.mac_matches(self.region_key, self._signed(data), mac)

    @staticmethod
    def _signed(data: bytes) -> bytes:
        return frame(b"signed", data)

    @property
    def keys_in_cache(self) -> Sized:
        """The cache of keys, to ask for its size again and again."""
        return self._keys

    def facts(self) -> ShardFacts:
        return ShardFacts(self.region, len(self._keys), len(self._aliases), len(self._materials), self._capacity)

    def close(self) -> None:
        """Closes the registry and overwrites the region's keys in the keyring."""
        with self._lock:
            self._clear()
            self.registry.close()
            evict(self.region_key)

    # --- loading, under the lock ---------------------------------------------------------------------------------

    def _load_key(self, key_id: str) -> Key | None:
        with self._lock:
            key = self._keys.get(key_id)
            if key is None and key_id not in self._unknown:
                key = self.registry.keys.find(key_id)
                self._keep(self._keys, key_id, key, key_id)
            return key

    def _load_alias(self, account: str, name: str, path: str) -> Alias | None:
        with self._lock:
            alias = self._aliases.get(path)
            if alias is None and path not in self._unknown:
                alias = self.registry.aliases.find(account, name)
                self._keep(self._aliases, path, alias, path)
            return alias

    def _keep(self, cache: GenerationalCache[str, T], name: str, value: T | None, unknown: str) -> None:
        """Caches a value; if it is None, remembers the name `unknown` until the next change."""
        if value is not None:
            cache.put(name, value)
        elif len(self._unknown) < _UNKNOWN_LIMIT:
            self._unknown.add(unknown)

    def _read_back(self, key: Key, material: Material | None) -> None:
        """Checks that the store gives a created key back and that its material unwraps."""
        if self.find_key(key.key_id) is None:
            raise missing_material(key)
        if material is not None:
            self.current_material(key)

    # --- dropping, under the lock --------------------------------------------------------------------------------

    def _forget(self, changes: Sequence[Change]) -> None:
        """Drops the changed entries, or everything if the change log was trimmed or has grown too long since."""
        if len(changes) == _CHANGES_AT_ONCE or (changes and changes[0].sequence != self._seen + 1):
            self._seen = self.registry.changes.last()
            self._clear()
            return
        for change in changes:
            self._seen = change.sequence
            if change.kind == "alias":
                self._aliases.drop(change.name)
            elif change.kind == "access key":
                self._access_keys.drop(change.name)
            elif change.kind == "key":  # what was looked up of grants holds by the words of their keys
                self._keys.drop(change.name)
                self._materials.drop_key(change.name)

    def _clear(self) -> None:
        self._keys.clear()
        self._aliases.clear()
        self._access_keys.clear()
        self._grants.clear()
        self._materials.clear()


class Shards:
    """The regions that a worker serves, in the order of the configuration."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards: Mapping[str, Shard] = {shard.region: shard for shard in shards}

    @property
    def default(self) -> Shard:
        """Returns the first region, for calls that name none."""
        return next(iter(self))

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(self._shards)

    def get(self, region: str) -> Shard | None:
        return self._shards.get(region)

    def key_policy(self, key: Key) -> str:
        """See Shard.key_policy."""
        return self._shards[key.region].key_policy(key)

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards.values())

    def __len__(self) -> int:
        return len(self._shards)

    def close(self) -> None:
        for shard in self:
            shard.close()
