"""EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, RotateKeyOnDemand, ListKeyRotations.

The keeper process rotates keys that are due (processes/due_work.py).
Source: https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html
"""

from __future__ import annotations

import dataclasses
from typing import Final

from kms_grpc.clock import DAY_NS
from kms_grpc.errors import ConflictException, KMSInvalidStateException, LimitExceededException
from kms_grpc.model.key import (
    MATERIALS_LIMIT,
    ON_DEMAND_ROTATIONS_LIMIT,
    Key,
    KeyState,
    Material,
    MaterialState,
    Origin,
    RotationType,
)
from kms_grpc.model.key_state import NOTHING_TO_ROTATE_TO
from kms_grpc.model.key_transitions import with_materials
from kms_grpc.operations.admission.selectors import by_id_or_arn
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.descriptors import value_or_default
from kms_grpc.operations.handlers.key_metadata import number, timestamp
from kms_grpc.operations.handlers.pages import BY_NUMBER, page
from kms_grpc.operations.kinds.unary import Unary
from kms_grpc.operations.kinds.write import Write
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2

TOO_NEAR_NS: Final = 20 * 60 * 10**9
"""A key whose automatic rotation is due sooner than this is not rotated on demand."""


def enable_key_rotation(call: Call, request: pb.EnableKeyRotationRequest, key: Key) -> pb.EnableKeyRotationResponse:
    """Enables automatic rotation: the first one comes one period from now. A second call changes period and date."""
    days = value_or_default(request, "rotation_period_in_days")
    due = call.time_ns + days * DAY_NS
    call.writing.keys.change(dataclasses.replace(key, rotation_period_days=days, next_rotation_ns=due))
    return pb.EnableKeyRotationResponse()


def disable_key_rotation(call: Call, request: pb.DisableKeyRotationRequest, key: Key) -> pb.DisableKeyRotationResponse:
    """Disables automatic rotation. It has no effect if rotation is disabled already."""
    if key.rotation_period_days is not None:
        call.writing.keys.change(dataclasses.replace(key, rotation_period_days=None, next_rotation_ns=None))
    return pb.DisableKeyRotationResponse()


def get_key_rotation_status(
    call: Call, request: pb.GetKeyRotationStatusRequest, key: Key
) -> pb.GetKeyRotationStatusResponse:
    """Returns the rotation settings. While a deletion is pending, rotation counts as disabled; cancelling the deletion
    restores it."""
    status = pb.GetKeyRotationStatusResponse(key_id=key.arn)
    if key.rotation_period_days is None or key.next_rotation_ns is None or key.deletion_ns is not None:
        return status
    status.key_rotation_enabled = True
    status.rotation_period_in_days = key.rotation_period_days
    if key.state is KeyState.ENABLED:
        status.next_rotation_date.CopyFrom(timestamp(key.next_rotation_ns))
    return status


def rotate_key_on_demand(call: Call, request: pb.RotateKeyOnDemandRequest, key: Key) -> pb.RotateKeyOnDemandResponse:
    """Rotates the key now, without changing the automatic schedule. A key of origin EXTERNAL takes the imported
    material that is pending rotation; other keys get a new material."""
    if key.on_demand_rotations >= ON_DEMAND_ROTATIONS_LIMIT:
        raise LimitExceededException(
            "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be"
            f" performed for this key: {key.arn}",
            key=key.arn,
            state=key.state,
        )
    if key.next_rotation_ns is not None and key.next_rotation_ns - call.time_ns <= TOO_NEAR_NS:
        raise ConflictException(
            f"{key.arn} is due for automatic rotation within 20 minutes. Rotate it afterwards.",
            key=key.arn,
            state=key.state,
        )
    counted = dataclasses.replace(key, on_demand_rotations=key.on_demand_rotations + 1)
    if key.origin is Origin.EXTERNAL:
        _take_pending_material(call, counted)
    else:
        fresh = call.shard.generate_material(key.key_id, key.account, call.time_ns)
        call.writing.keys.make_current(counted, _rotated(fresh, call.time_ns))
    return pb.RotateKeyOnDemandResponse(key_id=key.arn)


def list_key_rotations(call: Call, request: pb.ListKeyRotationsRequest, key: Key) -> pb.ListKeyRotationsResponse:
    """Lists rotations; with ALL_KEY_MATERIAL also the first material and the one that is pending rotation."""
    registry, everything = call.shard.registry, keys_pb2.INCLUDE_KEY_MATERIAL_ALL_KEY_MATERIAL

    def read(after: int, count: int) -> list[Material]:
        if request.include_key_material == everything:
            return list(registry.materials.list_after(key.key_id, after, count))
        return [
            one for one in registry.materials.list_after(key.key_id, after, count + 2) if one.rotated_ns is not None
        ][:count]

    filtered_by = f"{key.key_id} {request.include_key_material}"
    materials, marker = page(call, request, filtered_by, read, BY_NUMBER)
    entries = [_entry(key, material) for material in materials]
    return pb.ListKeyRotationsResponse(rotations=entries, truncated=marker is not None, next_marker=marker)


def _take_pending_material(call: Call, key: Key) -> None:
    assert key.pending_material_id is not None, "the key's rule asks for it"
    pending = call.writing.materials.find(key.key_id, key.pending_material_id)
    assert pending is not None, "the key's row names it"
    if pending.has_expired(call.time_ns):
        text = NOTHING_TO_ROTATE_TO.text.format(arn=key.arn)
        raise KMSInvalidStateException(text, key=key.arn, state=key.state)
    rotated = _rotated(pending, call.time_ns)
    materials = call.writing.materials.list_after(key.key_id, -1, MATERIALS_LIMIT)
    every = [rotated if one.material_id == rotated.material_id else one for one in materials]
    call.writing.keys.make_current(with_materials(key, every), rotated)


def _rotated(material: Material, time_ns: int) -> Material:
    return dataclasses.replace(
        material, state=MaterialState.CURRENT, rotated_ns=time_ns, rotation_type=RotationType.ON_DEMAND
    )


def _entry(key: Key, material: Material) -> keys_pb2.RotationsListEntry:
    entry = keys_pb2.RotationsListEntry(
        key_id=key.key_id,
        key_material_id=material.material_id.hex(),
        key_material_state=number(keys_pb2.KeyMaterialState, material.state),
    )
    if material.rotated_ns is not None and material.rotation_type is not None:
        entry.rotation_date.CopyFrom(timestamp(material.rotated_ns))
        entry.rotation_type = number(keys_pb2.RotationType, material.rotation_type)
    if key.origin is Origin.EXTERNAL:
        _add_import_facts(entry, material)
    return entry


def _add_import_facts(entry: keys_pb2.RotationsListEntry, material: Material) -> None:
    is_imported = material.wrapped is not None
    entry.import_state = keys_pb2.IMPORT_STATE_IMPORTED if is_imported else keys_pb2.IMPORT_STATE_PENDING_IMPORT
    if material.description:
        entry.key_material_description = material.description
    if material.expiration_model is not None:
        entry.expiration_model = number(keys_pb2.ExpirationModelType, material.expiration_model)
    if material.expires_ns is not None:
        entry.valid_to.CopyFrom(timestamp(material.expires_ns))


ROWS = (
    Write(
        "EnableKeyRotation",
        pb.EnableKeyRotationRequest,
        enable_key_rotation,
        keys=(by_id_or_arn("EnableKeyRotation"),),
    ),
    Write(
        "DisableKeyRotation",
        pb.DisableKeyRotationRequest,
        disable_key_rotation,
        keys=(by_id_or_arn("DisableKeyRotation"),),
    ),
    Unary(
        "GetKeyRotationStatus",
        pb.GetKeyRotationStatusRequest,
        get_key_rotation_status,
        keys=(by_id_or_arn("GetKeyRotationStatus"),),
    ),
    Write(
        "RotateKeyOnDemand",
        pb.RotateKeyOnDemandRequest,
        rotate_key_on_demand,
        keys=(by_id_or_arn("RotateKeyOnDemand"),),
    ),
    Unary("ListKeyRotations", pb.ListKeyRotationsRequest, list_key_rotations, keys=(by_id_or_arn("ListKeyRotations"),)),
)
