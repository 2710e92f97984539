"""Rows of key materials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import and_, bindparam, delete, insert, select, update

from kms_grpc.model.key import Material, MaterialState, Origin, RotationType
from kms_grpc.registry.sql.reader import AFTER, DIGEST, LIMIT, Reader
from kms_grpc.registry.sql.rows import Row, RowKind, Values, digest, hexadecimal
from kms_grpc.registry.sql.tables import materials
from kms_grpc.registry.sql.writer import OF_KEY, SEEN, Writer

MATERIAL = RowKind(
    materials, lambda place, values: f"key material {hexadecimal(values['material_id'])} of key {place.key_arn(values)}"
)

_OF_REVISION = and_(materials.c.digest == DIGEST, materials.c.revision.is_not_distinct_from(SEEN))
_BY_NAME = MATERIAL.select.where(
    and_(materials.c.key_id == bindparam("key_id"), materials.c.material_id == bindparam("material_id"))
)
_BY_DIGEST = MATERIAL.select.where(materials.c.digest == DIGEST)
_ADD = insert(materials)
_CHANGE = update(materials).where(_OF_REVISION)
_REMOVE = delete(materials).where(_OF_REVISION)
_REMOVE_ALL = delete(materials).where(materials.c.key_id == OF_KEY)
_PAGE = MATERIAL.select.order_by(materials.c.number.nulls_first()).limit(LIMIT)
_LIST_FROM_FIRST = _PAGE.where(materials.c.key_id == OF_KEY)
_LIST = _PAGE.where(and_(materials.c.key_id == OF_KEY, materials.c.number > AFTER))
_LAST_NUMBER = (
    select(materials.c.number)
    .where(materials.c.key_id == OF_KEY)
    .order_by(materials.c.number.desc().nulls_last())
    .limit(1)
)


class SqlMaterials:
    """Implements base.Materials."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def find(self, key_id: str, material_id: bytes) -> Material | None:
        row, damaged = self._reader.find(MATERIAL, _BY_NAME, _BY_DIGEST, key_id=key_id, material_id=material_id)
        if damaged:
            damage, values = self._reader.damage, {**MATERIAL.values(damaged[0]), "key_id": key_id}
            raise damage.unavailable(damage.place.key_arn(values), "key material")
        return _material(row) if row is not None else None

    def list_after(self, key_id: str, number: int, limit: int) -> Sequence[Material]:
        statement = _LIST_FROM_FIRST if number < 0 else _LIST
        rows = self._reader.page(MATERIAL, statement, {"of_key_id": key_id, "after": number}, limit)
        return [_material(row) for row in rows]


class SqlWritableMaterials(SqlMaterials):
    """Implements base.WritableMaterials."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._writer = writer

    def add(self, material: Material) -> Material:
        last = self._writer.first(_LAST_NUMBER, {"of_key_id": material.key_id})
        material = replace(material, number=0 if last is None else (last[0] or 0) + 1)
        exists = f"Key {material.key_id} already has the key material {material.material_id.hex()}"
        self._writer.add(_ADD, MATERIAL, _values(material), exists)
        self._writer.log_change("key", material.key_id)
        return material

    def add_first(self, material: Material) -> None:
        """Stores the material of a key that is added by the same transaction."""
        self._writer.add(_ADD, MATERIAL, _values(material), f"Key {material.key_id} already has this key material")

    def change(self, material: Material) -> Material:
        changed = replace(material, revision=material.revision + 1)
        self._writer.change(_CHANGE, MATERIAL, _values(changed), _seen(material), material.key_id)
        self._writer.log_change("key", material.key_id)
        return changed

    def remove(self, material: Material) -> None:
        self._writer.remove_seen(_REMOVE, MATERIAL, _seen(material), material.key_id)
        self._writer.log_change("key", material.key_id)

    def remove_all(self, key_id: str) -> None:
        """Removes all materials of a key."""
        self._writer.remove(_REMOVE_ALL, MATERIAL, {"of_key_id": key_id})


def _seen(material: Material) -> Values:
    return {
        "of_digest": digest(material.key_id, material.material_id),
        "seen_revision": _stored_revision(material),
    }


def _stored_revision(material: Material) -> int | None:
    """Returns None for a material that was never changed: rows of revision 0001 have no such column."""
    return None if material.revision == 1 else material.revision


def _values(material: Material) -> Values:
    return {
        "key_id": material.key_id,
        "material_id": material.material_id,
        "digest": digest(material.key_id, material.material_id),
        "account": material.account,
        "wrapped": material.wrapped,
        "created_ns": material.created_ns,
        "origin": material.origin.value,
        "state": material.state.value,
        "expires_ns": material.expires_ns,
        "description": material.description,
        "number": material.number or None,
        "rotated_ns": material.rotated_ns,
        "rotation_type": material.rotation_type and material.rotation_type.value,
        "revision": _stored_revision(material),
    }


def _material(row: Row) -> Material:
    values = MATERIAL.values(row)
    del values["digest"]
    values["origin"] = Origin(values["origin"])
    values["state"] = MaterialState(values["state"])
    values["number"] = values["number"] or 0
    values["rotation_type"] = values["rotation_type"] and RotationType(values["rotation_type"])
    values["revision"] = values["revision"] or 1
    return Material(**values)
