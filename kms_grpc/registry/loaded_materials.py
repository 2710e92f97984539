"""A bounded cache of one region's key materials, unwrapped in the core's keyring."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from kms_grpc.crypto import key_wrapping
from kms_grpc.crypto.ciphertext_blob import associated_prefix, header_prefix, kid_of
from kms_grpc.crypto.errors import KeyringFull, WrappedKeyDamaged
from kms_grpc.crypto.framing import frame
from kms_grpc.crypto.keyring import evict
from kms_grpc.model.key import Key, Material
from kms_grpc.registry.base import Registry
from kms_grpc.registry.generational_cache import GenerationalCache
from kms_grpc.registry.missing_material import missing_material


@dataclass(frozen=True, slots=True)
class LoadedMaterial:
    """A key material in the keyring, and the parts of a ciphertext blob that all calls under it share."""

    handle: int
    prefix: bytes
    """Bytes 0-54 of every blob under this material."""
    associated_prefix: bytes
    """The associated data up to the canonical encryption context."""
    key_id: str
    material_id: bytes


@dataclass(frozen=True, slots=True)
class WrappingPlace:
    """The shard that key materials are wrapped for, and the keyring handle of its region key."""

    partition: str
    region: str
    region_key: int

    def of_key(self, key_id: str, account: str) -> bytes:
        """Returns the associated data of the wrapping of a key's materials. It binds them to partition, region, account
        and key."""
        return frame(b"key material", *(part.encode() for part in (self.partition, self.region, account, key_id)))


class LoadedMaterials:
    """Loads materials into the keyring and takes them out again. Look-ups of loaded materials take no lock; `lock` is
    the shard's and serialises loading and dropping. `capacity` bounds the number of materials."""

    def __init__(self, registry: Registry, place: WrappingPlace, lock: threading.RLock, capacity: int) -> None:
        self._registry = registry
        self._place = place
        self._lock = lock
        self._cache: GenerationalCache[bytes, LoadedMaterial] = GenerationalCache(capacity, dropped=self._unload)
        self._current: dict[str, LoadedMaterial] = {}
        self._prefixes: dict[str, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._cache)

    def current(self, key: Key) -> LoadedMaterial:
        """Returns the material that `key` encrypts under. Raises KeyUnavailableException if it is damaged or
        missing."""
        loaded = self._current.get(key.key_id)
        if loaded is not None and loaded.material_id == key.current_material_id:
            return loaded
        if key.current_material_id is None:
            raise missing_material(key)
        prefix = header_prefix(kid_of(key.key_id), key.current_material_id)
        found = self._load(key, prefix, key.current_material_id)
        if found is None:
            raise missing_material(key)
        return found

    def find(self, key: Key, prefix: bytes) -> LoadedMaterial | None:
        """Returns the material that the first 55 bytes of a blob name; None if `key` has no such material, or if it was
        deleted or has expired."""
        loaded = self._cache.warm(prefix)
        if loaded is not None:
            return loaded if loaded.key_id == key.key_id else None
        kid, material_id = prefix[2:19], prefix[19:51]
        if kid != kid_of(key.key_id):
            return None
        return self._load(key, prefix, material_id)

    def drop(self, loaded: LoadedMaterial) -> None:
        """Takes one material out of the cache, unless it was loaded anew since."""
        with self._lock:
            if self._cache.get(loaded.prefix) is loaded:
                self._cache.drop(loaded.prefix)

    def drop_key(self, key_id: str) -> None:
        """Takes all materials of a key out of the cache. The caller must hold the lock."""
        for prefix in self._prefixes.pop(key_id, ()):
            self._cache.drop(prefix)

    def clear(self) -> None:
        """Takes all materials out of the cache. The caller must hold the lock."""
        self._cache.clear()

    def _load(self, key: Key, prefix: bytes, material_id: bytes) -> LoadedMaterial | None:
        with self._lock:
            loaded = self._cache.get(prefix)
            if loaded is None:
                material = self._registry.materials.find(key.key_id, material_id)
                if material is None or material.wrapped is None or not material.state.is_permanent:
                    return None
                handle = self._unwrap(key, material, material.wrapped)
                loaded = LoadedMaterial(handle, prefix, associated_prefix(key.arn), key.key_id, material_id)
                self._cache.put(prefix, loaded)
                self._prefixes.setdefault(key.key_id, set()).add(prefix)
            if material_id == key.current_material_id:
                self._current[key.key_id] = loaded
            return loaded

    def _unwrap(self, key: Key, material: Material, wrapped: bytes) -> int:
        try:
            return self._into_keyring(material, wrapped)
        except KeyringFull:
            self._cache.drop_old()
            return self._into_keyring(material, wrapped)
        except WrappedKeyDamaged as error:
            raise missing_material(key) from error

    def _into_keyring(self, material: Material, wrapped: bytes) -> int:
        return key_wrapping.load_material(
            self._place.region_key,
            kid_of(material.key_id),
            material.material_id,
            self._place.of_key(material.key_id, material.account),
            wrapped,
        )

    def _unload(self, prefix: bytes, loaded: LoadedMaterial) -> None:
        """Takes a material that leaves the cache out of the keyring."""
        evict(loaded.handle)
        if self._current.get(loaded.key_id) is loaded:
            del self._current[loaded.key_id]
        prefixes = self._prefixes.get(loaded.key_id)
        if prefixes is not None:
            prefixes.discard(prefix)
            if not prefixes:
                del self._prefixes[loaded.key_id]
