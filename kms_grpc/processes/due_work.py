"""Changes to keys whose date has come: deletion, expiry of imported key material, automatic rotation.

Each key is changed in a transaction of its own, which reads the key again. So a change happens once however many
keepers look for it, and a cancellation that was committed first takes effect. The audit record is a row of the same
transaction.

Deletion and expiry destroy key material, so the keeper calls them only while it trusts the clock (clock_trust.py).
Expired material is refused from its expiry on (model/key_transitions.py); this module removes its bytes.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any, Final

from kms_grpc.audit.record import service_event
from kms_grpc.clock import DAY_NS
from kms_grpc.errors import KMSError
from kms_grpc.model.key import MATERIALS_LIMIT, Key, KeyState, MaterialState, RotationType
from kms_grpc.model.key_transitions import Event, after, with_materials
from kms_grpc.registry.base import Transaction
from kms_grpc.registry.rows import Due, OutboxRow
from kms_grpc.registry.shards import Shard

AT_ONCE: Final = 100
"""Number of keys per pass and region, so that the keeper's other work is not delayed."""

_log = logging.getLogger(__name__)

Change = Callable[[Shard, Transaction, Key, int], bool]
"""(shard, transaction, key, now_ns): makes the change; returns False if the key, as it is now, has nothing to
change."""


def delete_due(shard: Shard, now_ns: int) -> int:
    """Delete keys whose waiting period is over, with their materials, aliases and tags; return how many."""
    return _apply_to_due(shard, Due.DELETION, now_ns, _delete)


def expire_due(shard: Shard, now_ns: int) -> int:
    """Remove imported key material past its ValidTo; return how many keys lost some."""
    return _apply_to_due(shard, Due.EXPIRY, now_ns, _expire)


def rotate_due(shard: Shard, now_ns: int) -> int:
    """Rotate enabled keys whose next automatic rotation is due; return how many."""
    return _apply_to_due(shard, Due.ROTATION, now_ns, _rotate)


def _apply_to_due(shard: Shard, due: Due, now_ns: int, change: Change) -> int:
    done = 0
    for key in shard.registry.keys.due(due, now_ns, AT_ONCE):
        try:
            done += _apply(shard, key, now_ns, change)
        except KMSError as error:
            _log.error("%s of %s is postponed: %s", due.value, key.arn, error)
    return done


def _apply(shard: Shard, key: Key, now_ns: int, change: Change) -> bool:
    with shard.writing() as transaction:
        fresh = transaction.keys.find(key.key_id)
        return fresh is not None and change(shard, transaction, fresh, now_ns)


def _record(transaction: Transaction, name: str, key: Key, now_ns: int, **details: Any) -> None:
    event_id, line = service_event(name, key.region, key, now_ns, details)
    transaction.outbox.add(OutboxRow(event_id, key.account, line))


# --- deletion ----------------------------------------------------------------------------------------------------


def _is_over(key: Key, now_ns: int) -> bool:
    return key.state is KeyState.PENDING_DELETION and key.deletion_ns is not None and key.deletion_ns <= now_ns


def _delete(shard: Shard, transaction: Transaction, key: Key, now_ns: int) -> bool:
    if not _is_over(key, now_ns):
        return False
    transaction.keys.remove(key)
    _record(transaction, "DeleteKey", key, now_ns)
    return True


# --- expiry ------------------------------------------------------------------------------------------------------


def _expire(shard: Shard, transaction: Transaction, key: Key, now_ns: int) -> bool:
    """Remove all expired material of a key, including material that is pending rotation."""
    kept, removed = [], False
    for material in transaction.materials.list_after(key.key_id, -1, MATERIALS_LIMIT):
        if material.wrapped is None or not material.has_expired(now_ns):
            kept.append(material)
            continue
        removed = True
        _record(transaction, "DeleteExpiredKeyMaterial", key, now_ns, keyMaterialId=material.material_id.hex())
        if material.state is MaterialState.PENDING_ROTATION:
            transaction.materials.remove(material)
        else:
            kept.append(transaction.materials.change(dataclasses.replace(material, wrapped=None, expires_ns=None)))
    if removed:
        transaction.keys.change(after(with_materials(key, kept), Event.MATERIAL_LOST))
    return removed


# --- rotation ----------------------------------------------------------------------------------------------------


def _is_to_rotate(key: Key, now_ns: int) -> bool:
    return key.state is KeyState.ENABLED and key.next_rotation_ns is not None and key.next_rotation_ns <= now_ns


def _rotate(shard: Shard, transaction: Transaction, key: Key, now_ns: int) -> bool:
    """Rotate a key. The next rotation is one period after the due date, or after now if that is past as well."""
    if not _is_to_rotate(key, now_ns):
        return False
    assert key.rotation_period_days is not None and key.next_rotation_ns is not None, "the key rotates"
    period_ns = key.rotation_period_days * DAY_NS
    coming = key.next_rotation_ns + period_ns
    fresh = shard.generate_material(key.key_id, key.account, now_ns)
    current = dataclasses.replace(fresh, rotated_ns=now_ns, rotation_type=RotationType.AUTOMATIC)
    due = coming if coming > now_ns else now_ns + period_ns
    transaction.keys.make_current(dataclasses.replace(key, next_rotation_ns=due), current)
    _record(transaction, "RotateKey", key, now_ns, keyMaterialId=current.material_id.hex())
    return True
