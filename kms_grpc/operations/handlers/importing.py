"""GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial.

An RSA wrapping key pair is taken from the store of pairs made ahead (processes/import_pairs.py), or made for the call,
and assigned to one key. The import token is a ciphertext blob under an AWS owned key; its plaintext is:

| offset | bytes | field |
|---|---|---|
| 0 | 1 | version, 1 |
| 1 | 16 | pair id |
| 17 | 8 | expiry, ns since 1970, big-endian |

Key and account are its encryption context, so it opens for them alone. The pair's row says what the token allows, and
its first use deletes the row. Key material is unwrapped and wrapped again in one call into C; it never becomes a Python
object.
Source: https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys.html
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from kms_grpc.audit.record import service_event
from kms_grpc.aws_members import aws_names
from kms_grpc.clock import DAY_NS, HOUR_NS
from kms_grpc.crypto import envelope
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.errors import (
    ConflictException,
    ExpiredImportTokenException,
    IncorrectKeyMaterialException,
    InvalidCiphertextException,
    InvalidImportTokenException,
    KMSInvalidStateException,
    NotFoundException,
    ValidationException,
)
from kms_grpc.model.key import IMPORT_VALID_HOURS, MATERIALS_LIMIT, ImportPair, Key, Material, MaterialState, Origin
from kms_grpc.model.key_transitions import Event, after, with_materials
from kms_grpc.operations.admission.identifiers import stored
from kms_grpc.operations.admission.selectors import by_id_or_arn
from kms_grpc.operations.call import Call
from kms_grpc.operations.handlers.key_metadata import timestamp
from kms_grpc.operations.kinds.write import Write
from kms_grpc.registry import imports
from kms_grpc.registry.loaded_materials import LoadedMaterial
from kms_grpc.registry.owned_keys import IMPORT_TOKENS, Reason, provide, using
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2

VALID_NS: Final = IMPORT_VALID_HOURS * HOUR_NS
"""How long import token and public key are valid."""
FAILURES: Final = 10
"""Failed imports after which the token is invalid."""
LONGEST_NS: Final = 365 * DAY_NS
"""How far ahead ValidTo may be."""
_TOKEN: Final = struct.Struct(">B16sQ")
_VERSION: Final = 1


class _Terms(NamedTuple):
    """The request's parameters, without the key material."""

    expires_ns: int | None
    is_new: bool
    material_id: str | None
    description: str | None


def take_pair(call: Call, request: pb.GetParametersForImportRequest) -> ImportPair:
    """Assigns a wrapping key pair to the key: one made ahead, else one made now, which takes up to seconds. A pair
    whose token is never returned to a caller stays unused and is deleted when it expires."""
    (key,), shard = call.keys, call.shard
    spec = aws_names(keys_pb2.WrappingKeySpec.DESCRIPTOR)[request.wrapping_key_spec]
    algorithm = aws_names(keys_pb2.AlgorithmSpec.DESCRIPTOR)[request.wrapping_algorithm]
    expires_ns = call.time_ns + VALID_NS
    provide(shard, call.time_ns)
    with shard.registry.writing() as transaction:
        ready = transaction.pairs.oldest_ready(spec)
        if ready is not None:
            return transaction.pairs.change(_assigned(ready, key, algorithm, expires_ns))
    fresh, record = imports.make_pair(shard, spec, call.time_ns, call.record.requestID)
    with shard.registry.writing() as transaction:
        transaction.outbox.add(record)
        return transaction.pairs.add(_assigned(fresh, key, algorithm, expires_ns))


def _assigned(pair: ImportPair, key: Key, algorithm: str, expires_ns: int) -> ImportPair:
    return dataclasses.replace(pair, key_id=key.key_id, account=key.account, algorithm=algorithm, expires_ns=expires_ns)


def get_parameters_for_import(
    call: Call, request: pb.GetParametersForImportRequest, key: Key
) -> pb.GetParametersForImportResponse:
    """Returns a public key and its import token, for one import within 24 hours."""
    pair: ImportPair = call.prepared
    assert pair.expires_ns is not None, "take_pair assigned it to the key"
    return pb.GetParametersForImportResponse(
        key_id=key.arn,
        import_token=_seal(call, key, pair.pair_id, pair.expires_ns),
        public_key=pair.public_key,
        parameters_valid_to=timestamp(pair.expires_ns),
    )


def import_key_material(call: Call, request: pb.ImportKeyMaterialRequest, key: Key) -> pb.ImportKeyMaterialResponse:
    """Imports key material. One transaction deletes the pair, stores the material and makes the key usable."""
    materials = list(call.writing.materials.list_after(key.key_id, -1, MATERIALS_LIMIT))
    terms = _terms(call, request, materials)
    pair = _pair(call, key, request.import_token)
    unwrapped = imports.unwrap(call.shard, key, pair, request.encrypted_key_material, _reason(call))
    if isinstance(unwrapped, InvalidCiphertextException):
        _count_failure(call, pair)
        call.refusal = unwrapped
        return pb.ImportKeyMaterialResponse()
    material_id, wrapped = unwrapped
    fresh = Material(
        key.key_id, key.account, material_id, wrapped, call.time_ns, Origin.EXTERNAL, expires_ns=terms.expires_ns,
        description=terms.description or "",
    )  # fmt: skip
    _place(call, key, materials, fresh, terms)
    with _used_by_others(key):
        call.writing.pairs.remove(pair)
    call.record.additionalEventData = {"keyMaterialId": material_id.hex()}
    return pb.ImportKeyMaterialResponse(key_id=key.arn, key_material_id=material_id.hex())


def delete_imported_key_material(
    call: Call, request: pb.DeleteImportedKeyMaterialRequest, key: Key
) -> pb.DeleteImportedKeyMaterialResponse:
    """Deletes imported key material, in every worker at once. It has no effect if there is none."""
    named = bytes.fromhex(request.key_material_id) if request.key_material_id else key.current_material_id
    answer = pb.DeleteImportedKeyMaterialResponse(key_id=key.arn, key_material_id=named.hex() if named else None)
    material = call.writing.materials.find(key.key_id, named) if named else None
    if material is None and request.key_material_id:
        raise NotFoundException(f"{key.arn} has no key material {request.key_material_id}.", key=key.arn)
    if material is None or material.wrapped is None:
        return answer
    _delete(call, key, material)
    call.record.additionalEventData = {"keyMaterialId": material.material_id.hex()}
    return answer


# --- token and pair ----------------------------------------------------------------------------------------------


def _seal(call: Call, key: Key, pair_id: bytes, expires_ns: int) -> bytes:
    with using(call.shard, IMPORT_TOKENS, "Encrypt", _reason(call)) as owned:
        return envelope.seal(owned.handle, owned.prefix, _bound(owned, key), _TOKEN.pack(_VERSION, pair_id, expires_ns))


def _pair(call: Call, key: Key, token: bytes) -> ImportPair:
    """Returns the pair of an import token. Raises ExpiredImportTokenException, or InvalidImportTokenException for a
    token that is damaged, of another key, or used before."""
    try:
        version, pair_id, expires_ns = _TOKEN.unpack(_open(call, key, token))
    except (InvalidCiphertextException, struct.error):
        raise InvalidImportTokenException("The import token is not for this key.", key=key.arn) from None
    if version != _VERSION:
        raise InvalidImportTokenException("The import token has another version.", key=key.arn)
    if expires_ns <= call.time_ns:
        raise ExpiredImportTokenException("The import token has expired: get new parameters.", key=key.arn)
    pair = call.writing.pairs.find(pair_id)
    if pair is None or pair.key_id != key.key_id:
        raise _used_before(key)
    return pair


def _open(call: Call, key: Key, token: bytes) -> bytes:
    with using(call.shard, IMPORT_TOKENS, "Decrypt", _reason(call)) as owned:
        return envelope.open_blob(owned.handle, _bound(owned, key), token)


def _reason(call: Call) -> Reason:
    return Reason(call.time_ns, call.beside.append, call.record.requestID)


def _bound(owned: LoadedMaterial, key: Key) -> bytes:
    return owned.associated_prefix + canonical({"key": key.key_id, "account": key.account})


def _count_failure(call: Call, pair: ImportPair) -> None:
    failed = dataclasses.replace(pair, failures=pair.failures + 1)
    with _used_by_others(call.keys[0]):
        if failed.failures >= FAILURES:
            call.writing.pairs.remove(pair)
        else:
            call.writing.pairs.change(failed)


@contextmanager
def _used_by_others(key: Key) -> Iterator[None]:
    """Turns a conflict on the pair's row into InvalidImportTokenException. Where transactions do not wait for each
    other, a call learns only when it writes that another call has used the pair."""
    try:
        yield
    except ConflictException:
        raise _used_before(key) from None


def _used_before(key: Key) -> InvalidImportTokenException:
    return InvalidImportTokenException("The import token was used before: get new parameters.", key=key.arn)


# --- the request -------------------------------------------------------------------------------------------------


def _terms(call: Call, request: pb.ImportKeyMaterialRequest, materials: list[Material]) -> _Terms:
    """Checks the request's parameters, before the token: a call refused for them does not count against the token."""
    kind = request.import_type
    is_new = kind == keys_pb2.IMPORT_TYPE_NEW_KEY_MATERIAL or (not kind and not materials)
    if request.key_material_id and is_new:
        raise ValidationException("KeyMaterialId can only be given with the ImportType EXISTING_KEY_MATERIAL.")
    description = request.key_material_description if request.HasField("key_material_description") else None
    return _Terms(_expiry(call, request), is_new, request.key_material_id or None, description)


def _expiry(call: Call, request: pb.ImportKeyMaterialRequest) -> int | None:
    if not request.HasField("valid_to"):
        return None
    expires_ns = request.valid_to.seconds * 10**9 + request.valid_to.nanos
    if not call.time_ns < expires_ns <= call.time_ns + LONGEST_NS:
        raise ValidationException("The validTo date must be in the future, at most 365 days ahead")
    return expires_ns


# --- the key's materials -----------------------------------------------------------------------------------------


def _place(call: Call, key: Key, materials: list[Material], fresh: Material, terms: _Terms) -> None:
    materials = [one for one in materials if not _sweep(call, key, one)]
    found = next((one for one in materials if one.material_id == fresh.material_id), None)
    if terms.is_new:
        _add(call, key, materials, fresh, found)
        return
    if found is None or (terms.material_id or fresh.material_id.hex()) != fresh.material_id.hex():
        raise IncorrectKeyMaterialException(
            f"The key material was never imported into {key.arn} before.", key=key.arn, state=key.state
        )
    description = found.description if terms.description is None else terms.description
    back = dataclasses.replace(found, wrapped=fresh.wrapped, expires_ns=fresh.expires_ns, description=description)
    call.writing.materials.change(back)
    every = [back if one is found else one for one in materials]
    call.writing.keys.change(after(with_materials(key, every), Event.MATERIAL_IMPORTED))


def _sweep(call: Call, key: Key, material: Material) -> bool:
    """Removes the material if it expired while pending rotation, so that another can be imported. Returns whether it
    did."""
    if material.state is not MaterialState.PENDING_ROTATION or not material.has_expired(call.time_ns):
        return False
    call.writing.materials.remove(material)
    details = {"keyMaterialId": material.material_id.hex()}
    event_id, line = service_event("DeleteExpiredKeyMaterial", key.region, key, call.time_ns, details)
    call.writing.outbox.add(OutboxRow(event_id, key.account, line))
    return True


def _add(call: Call, key: Key, materials: list[Material], fresh: Material, found: Material | None) -> None:
    if found is not None:
        raise IncorrectKeyMaterialException(
            f"The key material is bound to {key.arn} already: import it as EXISTING_KEY_MATERIAL.", key=key.arn
        )
    waiting = next((one for one in materials if one.state is MaterialState.PENDING_ROTATION), None)
    if waiting is not None:
        raise KMSInvalidStateException(
            f"New key material (id: {fresh.material_id.hex()}) cannot be imported into KMS key {key.arn}, because"
            f" another key material (id: {waiting.material_id.hex()}) is pending rotation.",
            key=key.arn,
            state=key.state,
        )
    if not materials:
        first = after(with_materials(key, [fresh]), Event.MATERIAL_IMPORTED)
        call.writing.keys.make_current(first, fresh)
        return
    later = dataclasses.replace(fresh, state=MaterialState.PENDING_ROTATION)
    call.writing.materials.add(later)
    call.writing.keys.change(with_materials(stored(call, key), [*materials, later]))


def _delete(call: Call, key: Key, material: Material) -> None:
    """Deletes one key material. The row of a material that was current stays, so that the same bytes can be imported
    again; the row of one pending rotation is removed."""
    every = call.writing.materials.list_after(key.key_id, -1, MATERIALS_LIMIT)
    others = [one for one in every if one.number != material.number]
    if material.state is MaterialState.PENDING_ROTATION:
        call.writing.materials.remove(material)
    else:
        others.append(call.writing.materials.change(dataclasses.replace(material, wrapped=None, expires_ns=None)))
    call.writing.keys.change(after(with_materials(stored(call, key), others), Event.MATERIAL_LOST))


ROWS = (
    Write(
        "GetParametersForImport",
        pb.GetParametersForImportRequest,
        get_parameters_for_import,
        prepare=take_pair,
        keys=(by_id_or_arn("GetParametersForImport"),),
    ),
    Write(
        "ImportKeyMaterial",
        pb.ImportKeyMaterialRequest,
        import_key_material,
        keys=(by_id_or_arn("ImportKeyMaterial"),),
    ),
    Write(
        "DeleteImportedKeyMaterial",
        pb.DeleteImportedKeyMaterialRequest,
        delete_imported_key_material,
        keys=(by_id_or_arn("DeleteImportedKeyMaterial"),),
        takes_rights_away=True,
    ),
)
