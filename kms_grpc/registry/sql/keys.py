"""Rows of keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import and_, bindparam, delete, func, insert, select, update

from kms_grpc.model.key import Key, KeyKind, KeyState, KeyUsage, Material, MaterialState, Origin
from kms_grpc.registry.missing_material import missing_material
from kms_grpc.registry.rows import Due, Upcoming
from kms_grpc.registry.sql.aliases import SqlWritableAliases
from kms_grpc.registry.sql.grants import SqlWritableGrants
from kms_grpc.registry.sql.key_counts import count_of, count_one_less, count_one_more
from kms_grpc.registry.sql.key_policies import SqlWritableKeyPolicies, policy_digest
from kms_grpc.registry.sql.materials import SqlWritableMaterials
from kms_grpc.registry.sql.pairs import SqlWritablePairs
from kms_grpc.registry.sql.reader import AFTER, DIGEST, LIMIT, Reader
from kms_grpc.registry.sql.rows import Row, RowKind, Values, digest
from kms_grpc.registry.sql.tables import keys, materials
from kms_grpc.registry.sql.tags import SqlWritableTags
from kms_grpc.registry.sql.writer import SEEN, Writer

KEY = RowKind(keys, lambda place, values: f"key {values['arn']}")

_OF_REVISION = and_(keys.c.digest == DIGEST, keys.c.revision == SEEN)
_BY_NAME = KEY.select.where(keys.c.key_id == bindparam("key_id"))
_BY_DIGEST = KEY.select.where(keys.c.digest == DIGEST)
_LIST = (
    KEY.select.where(and_(keys.c.account == bindparam("account"), keys.c.sequence > AFTER))
    .order_by(keys.c.sequence)
    .limit(LIMIT)
)
_ADD = insert(keys)
_CHANGE = update(keys).where(_OF_REVISION)
_REMOVE = delete(keys).where(_OF_REVISION)

_IN_STATE = keys.c.state == bindparam("state")
_DELETION_DUE = KEY.select.where(and_(_IN_STATE, keys.c.deletion_ns <= bindparam("before"))).order_by(
    keys.c.deletion_ns
)
_ROTATION_DUE = KEY.select.where(and_(_IN_STATE, keys.c.next_rotation_ns <= bindparam("before"))).order_by(
    keys.c.next_rotation_ns
)
_EXPIRY_DUE = KEY.select.where(
    keys.c.key_id.in_(select(materials.c.key_id).where(materials.c.expires_ns <= bindparam("before")))
).order_by(keys.c.key_id)
_DUE = {
    Due.DELETION: (_DELETION_DUE.limit(LIMIT), {"state": KeyState.PENDING_DELETION.value}),
    Due.ROTATION: (_ROTATION_DUE.limit(LIMIT), {"state": KeyState.ENABLED.value}),
    Due.EXPIRY: (_EXPIRY_DUE.limit(LIMIT), {}),
}
_DELETIONS = select(func.count(), func.min(keys.c.deletion_ns)).where(
    keys.c.state.in_((KeyState.PENDING_DELETION.value, KeyState.PENDING_REPLICA_DELETION.value))
)
_NEXT_ROTATION = select(func.min(keys.c.next_rotation_ns)).where(_IN_STATE)
_NEXT_EXPIRY = select(func.min(materials.c.expires_ns))


class SqlKeys:
    """Implements base.Keys."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def find(self, key_id: str) -> Key | None:
        row, damaged = self._reader.find(KEY, _BY_NAME, _BY_DIGEST, key_id=key_id)
        for other in damaged:
            if _is_row_of(other, key_id):
                damage, values = self._reader.damage, {**KEY.values(other), "key_id": key_id}
                raise damage.unavailable(damage.place.key_arn(values))
        return _key(row) if row is not None else None

    def count(self, account: str) -> int:
        return count_of(self._reader, account)

    def list_after(self, account: str, sequence: int, limit: int) -> Sequence[Key]:
        rows = self._reader.page(KEY, _LIST, {"account": account, "after": sequence}, limit)
        return [_key(row) for row in rows]

    def due(self, due: Due, before_ns: int, limit: int) -> Sequence[Key]:
        statement, parameters = _DUE[due]
        return [_key(row) for row in self._reader.page(KEY, statement, {**parameters, "before": before_ns}, limit)]

    def upcoming(self) -> Upcoming:
        pending, deletion_ns = self._reader.first(_DELETIONS, {})
        (expiry_ns,) = self._reader.first(_NEXT_EXPIRY, {})
        (rotation_ns,) = self._reader.first(_NEXT_ROTATION, {"state": KeyState.ENABLED.value})
        return Upcoming(pending, deletion_ns, expiry_ns, rotation_ns)


class SqlWritableKeys(SqlKeys):
    """Implements base.WritableKeys."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._writer = writer
        self._materials = SqlWritableMaterials(writer)

    def add(self, key: Key, material: Material | None) -> Key:
        key = replace(key, sequence=self._writer.log_change("key", key.key_id))
        self._writer.add(_ADD, KEY, _values(key), f"{key.arn} already exists")
        if material is not None:
            self._materials.add_first(material)
        if key.kind is KeyKind.CUSTOMER_MANAGED:
            count_one_more(self._writer, key.account)
        self._writer.created.append((key, material))
        return key

    def change(self, key: Key) -> Key:
        changed = replace(key, revision=key.revision + 1)
        self._writer.change(_CHANGE, KEY, _values(changed), _seen(key), key.arn)
        self._writer.log_change("key", key.key_id)
        return changed

    def make_current(self, key: Key, material: Material) -> Key:
        if key.current_material_id is not None and key.current_material_id != material.material_id:
            former = self._materials.find(key.key_id, key.current_material_id)
            if former is None:
                raise missing_material(key)
            self._materials.change(replace(former, state=MaterialState.NON_CURRENT))
        current = replace(material, state=MaterialState.CURRENT)
        is_new = self._materials.find(key.key_id, material.material_id) is None
        current = self._materials.add(current) if is_new else self._materials.change(current)
        key = self.change(replace(key, current_material_id=material.material_id))
        self._writer.created.append((key, current))
        return key

    def set_policy(self, key: Key, policy: str) -> Key:
        SqlWritableKeyPolicies(self._writer).set(key, policy)
        return self.change(replace(key, policy_digest=policy_digest(policy)))

    def remove(self, key: Key) -> None:
        parts = (
            *(SqlWritableAliases, SqlWritableTags, SqlWritableGrants, SqlWritablePairs, SqlWritableMaterials),
            SqlWritableKeyPolicies,
        )
        for part in parts:
            part(self._writer).remove_all(key.key_id)
        self._writer.remove_seen(_REMOVE, KEY, _seen(key), key.arn)
        if key.kind is KeyKind.CUSTOMER_MANAGED:
            count_one_less(self._writer, key.account)
        self._writer.log_change("key", key.key_id)


def _seen(key: Key) -> Values:
    return {"of_digest": digest(key.key_id), "seen_revision": key.revision}


def _values(key: Key) -> Values:
    return {
        "key_id": key.key_id,
        "digest": digest(key.key_id),
        "sequence": key.sequence,
        "account": key.account,
        "region": key.region,
        "arn": key.arn,
        "state": key.state.value,
        "description": key.description,
        "created_ns": key.created_ns,
        "current_material_id": key.current_material_id,
        "usage": key.usage.value,
        "spec": key.spec,
        "origin": key.origin.value,
        "kind": key.kind.value,
        "multi_region": int(key.multi_region),
        "suites": ",".join(map(str, key.suites)),
        "deletion_ns": key.deletion_ns,
        "revision": key.revision,
        "service": key.service,
        "rotation_period_days": key.rotation_period_days,
        "next_rotation_ns": key.next_rotation_ns,
        "on_demand_rotations": key.on_demand_rotations or None,
        "material_missing": int(key.material_missing) or None,
        "expires_ns": key.expires_ns,
        "pending_material_id": key.pending_material_id,
        "policy_digest": key.policy_digest,
    }


_SUITES: dict[str, tuple[int, ...]] = {}
"""Tuples of suites by their spelling, shared by all keys to save memory."""


def _suites(text: str) -> tuple[int, ...]:
    return _SUITES.setdefault(text, tuple(map(int, text.split(","))))


def _key(row: Row) -> Key:
    values = KEY.values(row)
    del values["digest"]
    values["state"] = KeyState(values["state"])
    values["usage"] = KeyUsage(values["usage"])
    values["origin"] = Origin(values["origin"])
    values["kind"] = KeyKind(values["kind"])
    values["multi_region"] = bool(values["multi_region"])
    values["suites"] = _suites(values["suites"])
    values["on_demand_rotations"] = values["on_demand_rotations"] or 0
    values["material_missing"] = bool(values["material_missing"])
    return Key(**values)


def _is_row_of(row: Row, key_id: str) -> bool:
    """Returns whether a damaged row is that key's: at least two of its names (key id, digest and ARN) say so."""
    values = KEY.values(row)
    by_arn = str(values["arn"]).endswith(f":key/{key_id}")
    return int(sum((values["key_id"] == key_id, values["digest"] == digest(key_id), by_arn))) >= 2
