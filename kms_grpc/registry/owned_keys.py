"""Keys that AWS owns: of the service's own account, for what the server itself must keep secret.

They are keys like all others, with materials, blobs and cache, but of a kind that no request finds (identifiers.py),
and of an account that no principal has. An alias of that account names each by its purpose.

`using` is the one way to their material. Each use leaves a record in the audit of the service's own account.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from kms_grpc.audit.record import service_event
from kms_grpc.errors import AlreadyExistsException, DependencyTimeoutException, KMSError
from kms_grpc.model.arn import ALIAS_PREFIX, alias_arn, key_arn
from kms_grpc.model.key import Alias, Key, KeyKind, KeyState
from kms_grpc.registry.base import OutboxRow
from kms_grpc.registry.loaded_materials import LoadedMaterial
from kms_grpc.registry.shards import Shard

IMPORT_WRAPPING_KEYS: Final = "import-wrapping-keys"
"""Purpose: wraps the private keys of pairs for importing."""
IMPORT_TOKENS: Final = "import-tokens"
"""Purpose: seals import tokens."""
ACCESS_KEYS: Final = "access-keys"
"""Purpose: seals the secrets of access keys; in the default region, made with the first of them."""
PURPOSES: Final = (IMPORT_WRAPPING_KEYS, IMPORT_TOKENS)


class Reason(NamedTuple):
    """Why an owned key is used, and who keeps the record of it."""

    time_ns: int
    keep: Callable[[OutboxRow], None]
    """Takes the record; it belongs into the transaction of what the key is used for, where there is one."""
    request_id: str | None = None
    """Of the call that the key is used for; None: the service does it by itself."""


@contextmanager
def using(shard: Shard, purpose: str, operation: str, reason: Reason) -> Iterator[LoadedMaterial]:
    """The material of the region's key of that purpose, for one `operation` of AWS KMS' (`Encrypt`), which is recorded
    when it is done or has failed. DependencyTimeoutException before `provide`."""
    key = find_owned_key(shard, purpose)
    if key is None:
        raise DependencyTimeoutException("The server is not ready for imports yet. Repeat the call soon.")
    try:
        yield shard.current_material(key)
    except KMSError as error:
        reason.keep(_record(key, operation, reason, error.code))
        raise
    reason.keep(_record(key, operation, reason, None))


def provide(shard: Shard, time_ns: int) -> None:
    """Let the region have its key of each purpose. Opens writes: not for use inside another one."""
    for purpose in PURPOSES:
        owned_key(shard, purpose, time_ns)


def owned_key(shard: Shard, purpose: str, time_ns: int) -> Key:
    """The region's key of that purpose, made at its first use. Opens a write then: not for use inside another one."""
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
    """The same, where it is there already: in the registry, if the worker has not been told of it yet."""
    name = ALIAS_PREFIX + purpose
    alias = shard.find_alias(shard.account, name) or shard.registry.aliases.find(shard.account, name)
    if alias is None:
        return None
    return shard.find_key(alias.target_key_id) or shard.registry.keys.find(alias.target_key_id)


def _make(shard: Shard, purpose: str, time_ns: int) -> Key:
    key_id, name = str(uuid.uuid4()), ALIAS_PREFIX + purpose
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
    """`description` of an owned key is its purpose."""
    details = {"purpose": key.description, "requestID": reason.request_id}
    event_id, line = service_event(operation, key.region, key, reason.time_ns, details, read_only=True, error=error)
    return OutboxRow(event_id, key.account, line)
