"""Access keys in the default region's shard, with their secrets encrypted under an AWS owned key.

A secret is a ciphertext blob; its encryption context binds it to its access key id and its principal. It is decrypted
once a day to derive the day's key; memory keeps the day's key and the signing keys of regions. Once DeleteAccessKey was
answered, every worker refuses the access key, because each use compares the word of the access key (words.py).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kms_grpc.audit.record import access_key_event
from kms_grpc.authentication.signature_v4 import FixedSigners, Signer
from kms_grpc.authentication.signing_key import SigningKey, SigningKeys, key_of_day, key_of_region
from kms_grpc.clock import Clock
from kms_grpc.crypto import envelope
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.errors import DependencyTimeoutException, NotFoundException, UnrecognizedClientException
from kms_grpc.model.access_key import AccessKey
from kms_grpc.model.principal import Principal
from kms_grpc.registry.loaded_materials import LoadedMaterial
from kms_grpc.registry.owned_keys import ACCESS_KEYS, Reason, owned_key, using
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.shards import Shard

SECRET_BYTES: Final = 30
"""Bytes of a secret; 40 characters in base64, like AWS's."""
ID_BYTES: Final = 10
_LOOKS: Final = 32
"""How often the sealing key is loaded again if other keys displace it from the keyring."""
_SIGNERS: Final = 4_096
_DAYS: Final = 3
"""Days whose keys are kept: a request is dated today or, within minutes of midnight, the day before or after."""


class StoredSigners:
    """Implements authentication.signature_v4.Signers. `principal_named` returns a configured principal; an access key
    of any other principal is unknown. `fixed` is asked first. `keep` takes the audit records of decrypted secrets."""

    def __init__(
        self,
        shard: Shard,
        principal_named: Callable[[str], Principal | None],
        fixed: FixedSigners,
        clock: Clock,
        keep: Callable[[OutboxRow], None],
    ) -> None:
        self._shard = shard
        self._clock, self._keep = clock, keep
        self._principal_named = principal_named
        self._fixed = fixed
        self._stored: dict[str, _StoredKey] = {}

    def find(self, access_key_id: str) -> Signer | None:
        """See Signers. Raises KeyUnavailableException if the row was changed on disk."""
        fixed = self._fixed.find(access_key_id)
        if fixed is not None:
            return fixed
        access_key = self._shard.find_access_key(access_key_id)
        principal = self._principal_named(access_key.principal) if access_key is not None else None
        if access_key is None or principal is None:
            return None
        stored = self._stored.get(access_key_id)
        if stored is None or stored.access_key != access_key:
            stored = _StoredKey(self._shard, access_key, self._clock, self._keep)
            if len(self._stored) >= _SIGNERS:
                self._stored.clear()
            self._stored[access_key_id] = stored
        return Signer(principal, stored.signing_key, stored.keys.keep)

    def find_warm(self, access_key_id: str) -> Signer | None:
        """See Signers."""
        fixed = self._fixed.find(access_key_id)
        if fixed is not None:
            return fixed
        access_key, stored = self._shard.warm_access_key(access_key_id), self._stored.get(access_key_id)
        if access_key is None or stored is None or stored.access_key != access_key:
            return None
        principal = self._principal_named(access_key.principal)
        return None if principal is None else Signer(principal, stored.warm_signing_key, stored.keys.keep)


class _StoredKey:
    """An access key with the signing keys that were derived from it."""

    def __init__(self, shard: Shard, access_key: AccessKey, clock: Clock, keep: Callable[[OutboxRow], None]) -> None:
        self.access_key = access_key
        self._shard = shard
        self._clock, self._keep = clock, keep
        self.keys = SigningKeys()
        self._days: dict[bytes, bytes] = {}

    def signing_key(self, date: bytes, region: bytes) -> SigningKey:
        if date not in self._days:
            reason = Reason(self._clock.wall_ns(), self._keep)
            key = key_of_day(_opened(self._shard, self.access_key, reason), date)
            if len(self._days) >= _DAYS:
                self._days.clear()
            self._days[date] = key
        return self.warm_signing_key(date, region)

    def warm_signing_key(self, date: bytes, region: bytes) -> SigningKey:
        signing_key = self.keys.find(date, region)
        if signing_key is not None:
            return signing_key
        day = self._days.get(date)
        if day is None:
            raise UnrecognizedClientException
        return SigningKey(key_of_region(day, region))


def create_access_key(shard: Shard, principal: Principal, now_ns: int) -> tuple[AccessKey, str]:
    """Creates an access key; returns it with its secret, which cannot be read again."""
    access_key_id = "AKIA" + base64.b32encode(envelope.random_bytes(ID_BYTES)).decode()
    secret = base64.b64encode(envelope.random_bytes(SECRET_BYTES))
    owned_key(shard, ACCESS_KEYS, now_ns)
    with shard.writing() as transaction:
        with using(shard, ACCESS_KEYS, "Encrypt", Reason(now_ns, transaction.outbox.add)) as sealing:
            bound = _bound(sealing, access_key_id, principal.name)
            sealed = envelope.seal(sealing.handle, sealing.prefix, bound, secret)
        access_key = AccessKey(access_key_id, principal.name, sealed, now_ns)
        transaction.access_keys.add(access_key)
        event_id, line = access_key_event("CreateAccessKey", shard.region, principal, access_key_id, now_ns)
        transaction.outbox.add(OutboxRow(event_id, principal.account, line))
    return access_key, secret.decode()


def delete_access_key(shard: Shard, access_key_id: str, principals: Mapping[str, Principal], now_ns: int) -> AccessKey:
    """Deletes an access key; every worker refuses it from then on. Raises NotFoundException if there is no such key."""
    shard.catch_up()
    with shard.writing() as transaction:
        access_key = transaction.access_keys.find(access_key_id)
        if access_key is None:
            raise NotFoundException(f"There is no access key {access_key_id}.")
        transaction.access_keys.remove(access_key_id)
        owner = principals.get(access_key.principal) or Principal(access_key.principal, "", shard.account)
        event_id, line = access_key_event("DeleteAccessKey", shard.region, owner, access_key_id, now_ns)
        transaction.outbox.add(OutboxRow(event_id, owner.account, line))
    return access_key


def list_access_keys(shard: Shard) -> Sequence[AccessKey]:
    """Returns all access keys, the oldest first. Damaged rows are left out and logged."""
    return shard.registry.access_keys.list_all()


def _opened(shard: Shard, access_key: AccessKey, reason: Reason) -> bytes:
    for _ in range(_LOOKS):
        try:
            with using(shard, ACCESS_KEYS, "Decrypt", reason) as sealing:
                bound = _bound(sealing, access_key.access_key_id, access_key.principal)
                return envelope.open_blob(sealing.handle, bound, access_key.sealed_secret)
        except StaleHandle:
            shard.forget_material(sealing)
    raise DependencyTimeoutException("The keyring has no room for the key that encrypts access keys. Repeat the call.")


def _bound(sealing: LoadedMaterial, access_key_id: str, principal: str) -> bytes:
    return sealing.associated_prefix + canonical({"access-key-id": access_key_id, "principal": principal})
