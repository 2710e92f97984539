"""AWS owned keys: keys of the service's own account, for secrets of the server itself.

They have materials, blobs and caches like all keys, but a kind that no request finds, and an account that no principal
has. An alias of that account names each by its purpose. `using` is the only way to their material; it records each use
in the audit of the service's own account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from kms_grpc.audit.record import service_event
from kms_grpc.crypto.new_uuid import new_uuid
from kms_grpc.errors import AlreadyExistsException, DependencyTimeoutException, KMSError
from kms_grpc.model.arn import ALIAS_PREFIX, alias_arn, key_arn
from kms_grpc.model.key import Alias, Key, KeyKind, KeyState
from kms_grpc.registry.loaded_materials import LoadedMaterial
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.shards import Shard

IMPORT_WRAPPING_KEYS: Final = "import-wrapping-keys"
"""Purpose: wraps the private keys of import wrapping keys."""
IMPORT_TOKENS: Final = "import-tokens"
"""Purpose: encrypts import tokens."""
ACCESS_KEYS: Final = "access-keys"
"""Purpose: encrypts the secrets of access keys; made in the default region with the first access key."""
PURPOSES: Final = (IMPORT_WRAPPING_KEYS, IMPORT_TOKENS)


class Reason(NamedTuple):
    """The cause of a use of an owned key, and the keeper of its audit record."""

    time_ns: int
    keep: Callable[[OutboxRow], None]
    """Takes the record. If the key is used for a transaction, the record must be part of it."""
    request_id: str | None = None
    """The request id of the call that needs the key; None if no call does."""


@contextmanager
def using(shard: Shard, purpose: str, operation: str, reason: Reason) -> Iterator[LoadedMaterial]:
    """Yields the material of the region's key of that purpose for one operation of AWS KMS (`Encrypt`), and records the
    operation when it is done or has failed. Raises DependencyTimeoutException if `provide` was not called yet."""
    key = find_owned_key(shard, purpose)
    if key is None:
        raise DependencyTimeoutException(f"{shard.region} has no key for {purpose} yet. Repeat the call soon.")
    try:
        yield shard.current_material(key)
    except KMSError as error:
        reason.keep(_record(key, operation, reason, error.code))
        raise
    reason.keep(_record(key, operation, reason, None))


def provide(shard: Shard, time_ns: int) -> None:
    """Makes the region's keys of all PURPOSES if they are missing. Not for use inside a transaction."""
    for purpose in PURPOSES:
        owned_key(shard, purpose, time_ns)


def owned_key(shard: Shard, purpose: str, time_ns: int) -> Key:
    """Returns the region's key of that purpose; makes it if it is missing. Not for use inside a transaction."""
    found = find_owned_key(shard, purpose)
    if found is not None:
        return found
    try:
        return _make(shard, purpose, time_ns)
    except AlreadyExistsException:
        found = find_owned_key(shard, purpose)
    assert found is not None, "nothing removes an owned key"
    return found


def find_owned_key(shard: Shard, purpose: str) -> Key | None:
    """Returns the region's key of that purpose, or None. Asks the registry if the worker's cache does not know it."""
    name = ALIAS_PREFIX + purpose
    alias = shard.find_alias(shard.account, name) or shard.registry.aliases.find(shard.account, name)
    if alias is None:
        return None
    return shard.find_key(alias.target_key_id) or shard.registry.keys.find(alias.target_key_id)


def _make(shard: Shard, purpose: str, time_ns: int) -> Key:
    key_id, name = new_uuid(), ALIAS_PREFIX + purpose
    material = shard.generate_material(key_id, shard.account, time_ns)
    key = Key(
        key_id=key_id,
        arn=key_arn(shard.partition, shard.region, shard.account, key_id),
        account=shard.account,
        region=shard.region,
        state=KeyState.ENABLED,
        description=purpose,
        created_ns=time_ns,
        current_material_id=material.material_id,
        kind=KeyKind.AWS_OWNED,
    )
    arn = alias_arn(shard.partition, shard.region, shard.account, name)
    with shard.writing() as transaction:
        key = transaction.keys.add(key, material)
        transaction.aliases.add(Alias(shard.account, name, arn, key_id, time_ns, time_ns))
        event_id, line = service_event("CreateKey", shard.region, key, time_ns, {"purpose": purpose})
        transaction.outbox.add(OutboxRow(event_id, key.account, line))
    return key


def _record(key: Key, operation: str, reason: Reason, error: str | None) -> OutboxRow:
    """Returns the audit record of a use. The description of an owned key is its purpose."""
    details = {"purpose": key.description, "requestID": reason.request_id}
    event_id, line = service_event(operation, key.region, key, reason.time_ns, details, read_only=True, error=error)
    return OutboxRow(event_id, key.account, line)
