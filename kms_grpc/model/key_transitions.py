"""Changes of a key's state, by events and by the state of its materials.

key_state.py says whether an operation is allowed at all. Source:
https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum

from kms_grpc.model.key import Key, KeyState, Material, MaterialState, Origin

S = KeyState


class Event(Enum):
    """An event that may change the state of a key."""

    ENABLED = "EnableKey"
    DISABLED = "DisableKey"
    DELETION_SCHEDULED = "ScheduleKeyDeletion"
    DELETION_CANCELLED = "CancelKeyDeletion"
    MATERIAL_IMPORTED = "ImportKeyMaterial"
    MATERIAL_LOST = "DeleteImportedKeyMaterial, or its expiry"
    LAST_REPLICA_DELETED = "the last replica of a primary key is gone"
    REPLICA_MADE = "a new replica is ready"
    PRIMARY_CHANGING = "UpdatePrimaryRegion has begun"
    PRIMARY_CHANGED = "UpdatePrimaryRegion is done"


TRANSITIONS: dict[Event, dict[KeyState, KeyState]] = {
    Event.ENABLED: {S.DISABLED: S.ENABLED},
    Event.DISABLED: {S.ENABLED: S.DISABLED},
    Event.DELETION_SCHEDULED: {
        state: S.PENDING_DELETION
        for state in S
        if state not in (S.PENDING_DELETION, S.PENDING_REPLICA_DELETION, S.UPDATING)
    },
    Event.DELETION_CANCELLED: {S.PENDING_DELETION: S.DISABLED, S.PENDING_REPLICA_DELETION: S.DISABLED},
    Event.MATERIAL_IMPORTED: {S.PENDING_IMPORT: S.ENABLED},
    Event.MATERIAL_LOST: {},
    Event.LAST_REPLICA_DELETED: {S.PENDING_REPLICA_DELETION: S.PENDING_DELETION},
    Event.REPLICA_MADE: {S.CREATING: S.ENABLED},
    Event.PRIMARY_CHANGING: {S.ENABLED: S.UPDATING},
    Event.PRIMARY_CHANGED: {S.UPDATING: S.ENABLED},
}
"""State before and after each event. A state that is not listed stays as it is."""

FIRST_STATE = {origin: S.PENDING_IMPORT if origin is Origin.EXTERNAL else S.ENABLED for origin in Origin}
"""The state of a new key, by origin."""

_NEEDS_MATERIAL = (S.ENABLED, S.DISABLED)


def state_after(key: Key, event: Event) -> KeyState:
    """Returns the state of `key` after `event`. A key that lacks a material is PendingImport instead of Enabled or
    Disabled."""
    state = TRANSITIONS[event].get(key.state, key.state)
    return S.PENDING_IMPORT if key.material_missing and state in _NEEDS_MATERIAL else state


def after(key: Key, event: Event) -> Key:
    """Returns `key` in the state after `event`."""
    return replace(key, state=state_after(key, event))


def as_of(key: Key, time_ns: int) -> Key:
    """Returns `key` as it is at that time: without a material that has expired, even if it was not deleted yet."""
    if key.expires_ns is None or time_ns < key.expires_ns:
        return key
    return after(replace(key, material_missing=True, expires_ns=None), Event.MATERIAL_LOST)


def with_materials(key: Key, materials: Iterable[Material]) -> Key:
    """Returns an external key with the columns that follow from all its materials: `material_missing`, `expires_ns` and
    `pending_material_id`. Its state stays; see state_after."""
    every = list(materials)
    permanent = [material for material in every if material.state.is_permanent]
    there = [material for material in permanent if material.wrapped is not None]
    waiting = [one.material_id for one in every if one.state is MaterialState.PENDING_ROTATION]
    return replace(
        key,
        material_missing=not permanent or len(there) < len(permanent),
        expires_ns=min((one.expires_ns for one in there if one.expires_ns is not None), default=None),
        pending_material_id=waiting[0] if waiting else None,
    )
