"""The SQL registry's part in a key's life: materials, deletion, tags, pairs for importing, what is due when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kms_grpc.model.key import ImportPair, Key, KeyKind, KeyState, Material, MaterialState, Tag
from kms_grpc.registry import statements as sql
from kms_grpc.registry.base import Due, Upcoming
from kms_grpc.registry.damage import missing_material
from kms_grpc.registry.rows import (
    KEY,
    LATEST,
    MATERIAL,
    PAIR,
    TAG,
    Row,
    digest,
    key_of,
    material_values,
    pair_of,
    pair_values,
    stored_revision,
    tag_values,
)
from kms_grpc.registry.sql_base import SqlReading, SqlWriting

_DUE = {
    Due.DELETION: (sql.DELETION_DUE, {"state": KeyState.PENDING_DELETION.value}),
    Due.ROTATION: (sql.ROTATION_DUE, {"state": KeyState.ENABLED.value}),
    Due.EXPIRY: (sql.EXPIRY_DUE, {}),
}


class LifeTransaction(SqlWriting):
    """See base.Transaction."""

    # --- materials -----------------------------------------------------------------------------------------------

    def find_material(self, key_id: str, material_id: bytes) -> Material | None:
        return self._rows.material(self._connection, key_id, material_id)

    def materials_after(self, key_id: str, number: int, limit: int) -> Sequence[Material]:
        return self._rows.materials(self._connection, key_id, number, limit)

    def add_material(self, material: Material) -> Material:
        last = self._connection.execute(sql.LAST_MATERIAL, {"of_key_id": material.key_id}).first()
        material = replace(material, number=0 if last is None else (last[0] or 0) + 1)
        exists = f"Key {material.key_id} already has the key material {material.material_id.hex()}"
        self._add(sql.ADD_MATERIAL, MATERIAL, material_values(material), exists)
        self._log_change("key", material.key_id)
        return material

    def change_material(self, material: Material) -> Material:
        changed = replace(material, revision=material.revision + 1)
        seen = {"of_digest": digest(material.key_id, material.material_id), "seen_revision": stored_revision(material)}
        values = self._rows.macs.seal(MATERIAL, material_values(changed))
        self._change_seen(sql.CHANGE_MATERIAL, {**values, **seen}, material.key_id)
        self._log_change("key", material.key_id)
        return changed

    def remove_material(self, material: Material) -> None:
        seen = {"of_digest": digest(material.key_id, material.material_id), "seen_revision": stored_revision(material)}
        self._change_seen(sql.REMOVE_MATERIAL, seen, material.key_id)
        self._log_change("key", material.key_id)

    def make_current(self, key: Key, material: Material) -> Key:
        if key.current_material_id is not None and key.current_material_id != material.material_id:
            former = self.find_material(key.key_id, key.current_material_id)
            if former is None:
                raise missing_material(key)
            self.change_material(replace(former, state=MaterialState.NON_CURRENT))
        current = self._store_material(replace(material, state=MaterialState.CURRENT))
        key = self.change_key(replace(key, current_material_id=material.material_id))
        self._created.append((key, current))
        return key

    def _store_material(self, material: Material) -> Material:
        stored = self.find_material(material.key_id, material.material_id)
        return self.add_material(material) if stored is None else self.change_material(material)

    # --- deletion ------------------------------------------------------------------------------------------------

    def remove_key(self, key: Key) -> None:
        of_key = {"of_key_id": key.key_id}
        for account, name in self._connection.execute(sql.ALIASES_OF_KEY, of_key).fetchall():
            self._log_change("alias", f"{account}/{name}")
        for statement in (sql.REMOVE_TAGS, sql.REMOVE_PAIRS, sql.REMOVE_ALIASES, sql.REMOVE_MATERIALS):
            self._connection.execute(statement, of_key)
        seen = {"of_digest": digest(key.key_id), "seen_revision": key.revision}
        self._change_seen(sql.REMOVE_KEY, seen, key.arn)
        if key.kind is KeyKind.CUSTOMER_MANAGED:
            self._connection.execute(sql.COUNT_ONE_LESS, {"of_account": key.account})
        self._log_change("key", key.key_id)

    # --- tags ----------------------------------------------------------------------------------------------------

    def tags_after(self, key_id: str, tag_key: str, limit: int) -> Sequence[Tag]:
        return self._rows.tags(self._connection, key_id, tag_key, limit)

    def set_tag(self, tag: Tag) -> None:
        self.remove_tag(tag.key_id, tag.tag_key)
        self._add(sql.ADD_TAG, TAG, tag_values(tag), f"Key {tag.key_id} has the tag {tag.tag_key}")

    def remove_tag(self, key_id: str, tag_key: str) -> None:
        self._connection.execute(sql.REMOVE_TAG, {"of_key_id": key_id, "of_tag_key": tag_key})

    # --- pairs for importing -------------------------------------------------------------------------------------

    def find_pair(self, pair_id: bytes) -> ImportPair | None:
        return self._rows.pair(self._connection, pair_id)

    def ready_pair(self, spec: str) -> ImportPair | None:
        def fetch(count: int) -> Sequence[Row]:
            parameters = {"spec": spec, "limit_rows": count}
            return self._connection.execute(sql.READY_PAIRS, parameters).fetchall()

        rows = self._rows.page(PAIR, 1, fetch)
        return pair_of(rows[0]) if rows else None

    def add_pair(self, pair: ImportPair) -> ImportPair:
        self._add(sql.ADD_PAIR, PAIR, pair_values(pair), f"Pair {pair.pair_id.hex()} exists")
        return pair

    def change_pair(self, pair: ImportPair) -> ImportPair:
        changed = replace(pair, revision=pair.revision + 1)
        values = self._rows.macs.seal(PAIR, pair_values(changed))
        self._change_seen(sql.CHANGE_PAIR, {**values, **_seen_pair(pair)}, _pair_name(pair))
        return changed

    def remove_pair(self, pair: ImportPair) -> None:
        self._change_seen(sql.REMOVE_PAIR, _seen_pair(pair), _pair_name(pair))

    # --- the latest time -----------------------------------------------------------------------------------------

    def latest_ns(self) -> int:
        return self._rows.latest_ns(self._connection)

    def advance_latest(self, time_ns: int) -> int:
        latest = self.latest_ns()
        if time_ns <= latest:
            return latest
        self._connection.execute(sql.FORGET_LATEST_TIME)
        self._add(sql.ADD_LATEST_TIME, LATEST, {"id": 1, "latest_ns": time_ns}, "The latest time is recorded")
        return time_ns


def _seen_pair(pair: ImportPair) -> dict[str, object]:
    return {"of_pair_id": pair.pair_id, "seen_revision": pair.revision}


def _pair_name(pair: ImportPair) -> str:
    return f"The wrapping key {pair.pair_id.hex()}"


class LifeReading(SqlReading):
    """See base.Registry."""

    def materials_after(self, key_id: str, number: int, limit: int) -> Sequence[Material]:
        with self._store.reading() as connection:
            return self._rows.materials(connection, key_id, number, limit)

    def tags_after(self, key_id: str, tag_key: str, limit: int) -> Sequence[Tag]:
        with self._store.reading() as connection:
            return self._rows.tags(connection, key_id, tag_key, limit)

    def find_pair(self, pair_id: bytes) -> ImportPair | None:
        with self._store.reading() as connection:
            return self._rows.pair(connection, pair_id)

    def latest_ns(self) -> int:
        with self._store.reading() as connection:
            return self._rows.latest_ns(connection)

    def keys_due(self, due: Due, before_ns: int, limit: int) -> Sequence[Key]:
        statement, which = _DUE[due]

        def fetch(count: int) -> Sequence[Row]:
            return self._all(statement, {**which, "before": before_ns, "limit_rows": count})

        return [key_of(row) for row in self._rows.page(KEY, limit, fetch)]

    def upcoming(self) -> Upcoming:
        pending, deletion_ns = self._one(sql.DELETIONS, {})
        (expiry_ns,) = self._one(sql.NEXT_EXPIRY, {})
        return Upcoming(pending, deletion_ns, expiry_ns)

    def count_ready_pairs(self, spec: str) -> int:
        return int(self._one(sql.COUNT_READY_PAIRS, {"spec": spec})[0])

    def remove_expired_pairs(self, before_ns: int) -> int:
        with self._store.writing() as connection:
            return connection.execute(sql.REMOVE_EXPIRED_PAIRS, {"before": before_ns}).rowcount

    def erase_removed(self) -> bool:
        return self._store.empty_log()
