"""One region in one worker: the registry, the region's key, and bounded caches that obey the region's epoch.

The epoch is bumped after each commit and before its answer, by whichever process committed. A call begins with
`is_fresh`; where it is not, `catch_up` reads the epoch first and then the change log, and drops exactly what changed.
Loads and catch_up share one lock, so a load cannot put back what a change has just dropped. Warm look-ups take no lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from kms_grpc.crypto import key_wrapping
from kms_grpc.crypto.ciphertext_blob import associated_prefix, header_prefix, kid_of
from kms_grpc.crypto.epoch import Epoch
from kms_grpc.crypto.errors import KeyringFull, WrappedKeyDamaged
from kms_grpc.crypto.framing import frame
from kms_grpc.crypto.keyring import evict
from kms_grpc.faults import fault_point
from kms_grpc.model.access_key import AccessKey
from kms_grpc.model.key import Alias, Key, Material
from kms_grpc.registry.base import Change, Registry, Transaction
from kms_grpc.registry.damage import missing_material
from kms_grpc.registry.generational_cache import GenerationalCache

T = TypeVar("T")

CACHED_KEYS = 8_192
"""Keys, and as many aliases and materials, that a worker keeps over all its regions unless told otherwise."""

_CHANGES_AT_ONCE = 1_000
_UNKNOWN_LIMIT = 1_024
_DESCRIPTION_WEIGHT = 1_024
"""Characters of a description that weigh as much as a key; so a cache of long ones holds fewer."""


@dataclass(frozen=True, slots=True)
class LoadedMaterial:
    """A key material in the keyring, with what a call needs beside it."""

    handle: int
    prefix: bytes
    """Bytes 0-54 of every blob under this material."""
    associated_prefix: bytes
    """What stands before the canonical encryption context in the associated data."""
    key_id: str
    material_id: bytes


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """How full a worker's caches of one region are."""

    region: str
    cached_keys: int
    cached_aliases: int
    cached_materials: int
    capacity: int


def _weight(key: Key) -> int:
    return 1 + len(key.description) // _DESCRIPTION_WEIGHT


class Shard:
    """Thread-safe. `capacity` bounds keys, aliases and materials, each."""

    def __init__(
        self,
        partition: str,
        region: str,
        account: str,
        registry: Registry,
        region_key: int,
        epoch: Epoch,
        capacity: int,
    ) -> None:
        self.partition = partition
        self.region = region
        self.account = account
        self.registry = registry
        self.region_key = region_key
        self.epoch = epoch
        self._capacity = capacity
        self._lock = threading.RLock()
        self._keys: GenerationalCache[str, Key] = GenerationalCache(capacity, weigh=_weight)
        self._aliases: GenerationalCache[str, Alias] = GenerationalCache(capacity)
        self._access_keys: GenerationalCache[str, AccessKey] = GenerationalCache(capacity)
        self._materials: GenerationalCache[bytes, LoadedMaterial] = GenerationalCache(capacity, dropped=self._unload)
        self._current: dict[str, LoadedMaterial] = {}
        self._prefixes: dict[str, set[bytes]] = {}
        self._unknown: set[str] = set()
        self.seen_epoch = epoch.value
        """The epoch that the caches were last brought up to."""
        self._seen = registry.last_change()

    # --- what changed --------------------------------------------------------------------------------------------

    def is_fresh(self) -> bool:
        """Whether nothing was committed since this worker last caught up."""
        return self.epoch.value == self.seen_epoch

    def catch_up(self) -> bool:
        """Drop what has changed since; True if anything may have been dropped."""
        if self.is_fresh():
            return False
        with self._lock:
            value = self.epoch.value
            if value == self.seen_epoch:
                return False
            changes = self.registry.changes_after(self._seen, _CHANGES_AT_ONCE)
            self._unknown.clear()
            self._forget(changes)
            self.seen_epoch = value
            return bool(changes)

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """One write. Once left, it is durable, all workers of this host obey it, and keys it created were read back."""
        transaction: Transaction | None = None
        try:
            with self.registry.writing() as transaction:
                yield transaction
        finally:
            if transaction is not None and transaction.changed:
                self.epoch.bump()
                fault_point("epoch.after")
        self.catch_up()
        for key, material in transaction.created:
            self._read_back(key, material)

    # --- look-ups ------------------------------------------------------------------------------------------------

    def find_key(self, key_id: str) -> Key | None:
        """None where the region has no such key. KeyUnavailableException where its row was changed on disk."""
        key = self._keys.warm(key_id)
        return key if key is not None else self._load_key(key_id)

    def find_alias(self, account: str, name: str) -> Alias | None:
        """As find_key."""
        path = f"{account}/{name}"
        alias = self._aliases.warm(path)
        return alias if alias is not None else self._load_alias(account, name, path)

    def find_access_key(self, access_key_id: str) -> AccessKey | None:
        """As find_key."""
        with self._lock:
            access_key = self._access_keys.get(access_key_id)
            name = f"access key {access_key_id}"
            if access_key is None and name not in self._unknown:
                access_key = self.registry.find_access_key(access_key_id)
                self._keep(self._access_keys, access_key_id, access_key, name)
            return access_key

    def warm_access_key(self, access_key_id: str) -> AccessKey | None:
        """The access key, if it was used lately and nothing was committed since."""
        return self._access_keys.warm(access_key_id) if self.is_fresh() else None

    def current_material(self, key: Key) -> LoadedMaterial:
        """The material that `key` encrypts under. KeyUnavailableException where it is damaged or missing."""
        loaded = self._current.get(key.key_id)
        if loaded is not None and loaded.material_id == key.current_material_id:
            return loaded
        if key.current_material_id is None:
            raise missing_material(key)
        prefix = header_prefix(kid_of(key.key_id), key.current_material_id)
        found = self._load_material(key, prefix, key.current_material_id)
        if found is None:
            raise missing_material(key)
        return found

    def material(self, key: Key, prefix: bytes) -> LoadedMaterial | None:
        """The material that a blob's first 55 bytes name; None where `key` has none such, or has lost it."""
        loaded = self._materials.warm(prefix)
        if loaded is not None:
            return loaded if loaded.key_id == key.key_id else None
        kid, material_id = prefix[2:19], prefix[19:51]
        if kid != kid_of(key.key_id):
            return None
        return self._load_material(key, prefix, material_id)

    def warm_material(self, prefix: bytes) -> LoadedMaterial | None:
        """The material, if it was used lately: one dictionary get."""
        return self._materials.warm(prefix)

    def forget_material(self, loaded: LoadedMaterial) -> None:
        """After StaleHandle or KeyringLost: the next look-up loads it anew."""
        with self._lock:
            if self._materials.get(loaded.prefix) is loaded:
                self._materials.drop(loaded.prefix)

    # --- under the region's key ----------------------------------------------------------------------------------

    def generate_material(self, key_id: str, account: str, created_ns: int) -> Material:
        """Fresh material of a key to come, wrapped; nothing is stored."""
        material_id, wrapped = key_wrapping.generate_material(
            self.region_key, kid_of(key_id), self.material_place(key_id, account)
        )
        return Material(key_id, account, material_id, wrapped, created_ns)

    def sign(self, data: bytes) -> bytes:
        """A MAC of 32 bytes for what goes out and has to come back unchanged (page markers)."""
        return key_wrapping.mac(self.region_key, self._signed(data))

    def signed(self, data: bytes, mac: bytes) -> bool:
        """Whether this region signed `data` so."""
        return key_wrapping.mac_matches(self.region_key, self._signed(data), mac)

    def facts(self) -> ShardFacts:
        return ShardFacts(self.region, len(self._keys), len(self._aliases), len(self._materials), self._capacity)

    def close(self) -> None:
        """Close the registry and overwrite what the keyring holds of this region."""
        with self._lock:
            self._clear()
            self.registry.close()
            evict(self.region_key)

    # --- loading, under the lock ---------------------------------------------------------------------------------

    def _load_key(self, key_id: str) -> Key | None:
        with self._lock:
            key = self._keys.get(key_id)
            if key is None and key_id not in self._unknown:
                key = self.registry.find_key(key_id)
                self._keep(self._keys, key_id, key, key_id)
            return key

    def _load_alias(self, account: str, name: str, path: str) -> Alias | None:
        with self._lock:
            alias = self._aliases.get(path)
            if alias is None and path not in self._unknown:
                alias = self.registry.find_alias(account, name)
                self._keep(self._aliases, path, alias, path)
            return alias

    def _keep(self, cache: GenerationalCache[str, T], name: str, value: T | None, unknown: str) -> None:
        """`unknown` names it among all that there are not."""
        if value is not None:
            cache.put(name, value)
        elif len(self._unknown) < _UNKNOWN_LIMIT:
            self._unknown.add(unknown)

    def _load_material(self, key: Key, prefix: bytes, material_id: bytes) -> LoadedMaterial | None:
        with self._lock:
            loaded = self._materials.get(prefix)
            if loaded is None:
                material = self.registry.find_material(key.key_id, material_id)
                if material is None or material.wrapped is None or not material.state.is_permanent:
                    return None
                handle = self._unwrap(key, material, material.wrapped)
                loaded = LoadedMaterial(handle, prefix, associated_prefix(key.arn), key.key_id, material_id)
                self._materials.put(prefix, loaded)
                self._prefixes.setdefault(key.key_id, set()).add(prefix)
            if material_id == key.current_material_id:
                self._current[key.key_id] = loaded
            return loaded

    def _unwrap(self, key: Key, material: Material, wrapped: bytes) -> int:
        try:
            return self._into_keyring(material, wrapped)
        except KeyringFull:
            self._materials.drop_old()
            return self._into_keyring(material, wrapped)
        except WrappedKeyDamaged as error:
            raise missing_material(key) from error

    def _into_keyring(self, material: Material, wrapped: bytes) -> int:
        return key_wrapping.load_material(
            self.region_key,
            kid_of(material.key_id),
            material.material_id,
            self.material_place(material.key_id, material.account),
            wrapped,
        )

    def _read_back(self, key: Key, material: Material | None) -> None:
        """A key counts as created only when the store gives it back and its material opens."""
        if self.find_key(key.key_id) is None:
            raise missing_material(key)
        if material is not None:
            self.current_material(key)

    # --- dropping, under the lock --------------------------------------------------------------------------------

    def _forget(self, changes: Sequence[Change]) -> None:
        if len(changes) == _CHANGES_AT_ONCE or (changes and changes[0].sequence != self._seen + 1):
            self._seen = self.registry.last_change()
            self._clear()
            return
        for change in changes:
            self._seen = change.sequence
            if change.kind == "alias":
                self._aliases.drop(change.name)
            elif change.kind == "access key":
                self._access_keys.drop(change.name)
            else:
                self._forget_key(change.name)

    def _forget_key(self, key_id: str) -> None:
        self._keys.drop(key_id)
        for prefix in self._prefixes.pop(key_id, ()):
            self._materials.drop(prefix)

    def _clear(self) -> None:
        self._keys.clear()
        self._aliases.clear()
        self._access_keys.clear()
        self._materials.clear()

    def _unload(self, prefix: bytes, loaded: LoadedMaterial) -> None:
        """What leaves the cache leaves the keyring."""
        evict(loaded.handle)
        if self._current.get(loaded.key_id) is loaded:
            del self._current[loaded.key_id]
        prefixes = self._prefixes.get(loaded.key_id)
        if prefixes is not None:
            prefixes.discard(prefix)
            if not prefixes:
                del self._prefixes[loaded.key_id]

    # --- labels --------------------------------------------------------------------------------------------------

    def material_place(self, key_id: str, account: str) -> bytes:
        """What the wrapping of a key's materials is bound to."""
        return frame(b"key material", *(part.encode() for part in (self.partition, self.region, account, key_id)))

    @staticmethod
    def _signed(data: bytes) -> bytes:
        return frame(b"signed", data)


class Shards:
    """The regions that a worker serves, in the order of the configuration."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards: Mapping[str, Shard] = {shard.region: shard for shard in shards}

    @property
    def default(self) -> Shard:
        """The first region, for calls that name none."""
        return next(iter(self))

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(self._shards)

    def get(self, region: str) -> Shard | None:
        return self._shards.get(region)

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards.values())

    def __len__(self) -> int:
        return len(self._shards)

    def close(self) -> None:
        for shard in self:
            shard.close()
