"""Rows and what they stand for: conversion both ways, and the MAC that each protected row carries.

The MAC is HMAC-SHA-256 under a key that the core derives from the region's key, over
frame(table, partition, region, column, value, column, value …) with all columns but the MAC itself, in the table's
order, absent values left out; a column that came later is absent where it says what all rows of before mean. A value
is framed with its type: `i` and decimal digits, `s` and UTF-8, `b` and bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table, select

from kms_grpc.crypto.framing import frame
from kms_grpc.crypto.key_wrapping import mac, mac_matches
from kms_grpc.model.access_key import AccessKey
from kms_grpc.model.key import (
    Alias,
    ImportPair,
    Key,
    KeyKind,
    KeyState,
    KeyUsage,
    Material,
    MaterialState,
    Origin,
    RotationType,
    Tag,
)
from kms_grpc.registry import tables
from kms_grpc.registry.base import RememberedAnswer, ShardRow

Values = dict[str, Any]
Row = Sequence[Any]
"""The values of a protected row in the order of its kind's columns, the MAC last."""


class RowKind:
    """A table of protected rows: its columns, and the statement that reads them in the order of the MAC."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.columns = tuple(column.name for column in table.c if column.name != "mac")
        self.label = table.name.encode()
        self.names = tuple(name.encode() for name in self.columns)
        self.select = select(*(table.c[name] for name in self.columns), table.c.mac)

    def values(self, row: Row) -> Values:
        return dict(zip(self.columns, row, strict=False))


SHARD = RowKind(tables.shard)
KEY = RowKind(tables.keys)
MATERIAL = RowKind(tables.materials)
ALIAS = RowKind(tables.aliases)
ANSWER = RowKind(tables.remembered_answers)
TAG = RowKind(tables.tags)
PAIR = RowKind(tables.import_pairs)
LATEST = RowKind(tables.latest_time)
ACCESS_KEY = RowKind(tables.access_keys)


class RowMac:
    """Makes and checks the MACs of one shard's rows."""

    def __init__(self, partition: str, region: str, region_key: int) -> None:
        self._place = (partition.encode(), region.encode())
        self._region_key = region_key

    def seal(self, kind: RowKind, values: Mapping[str, Any]) -> Values:
        """`values` with their MAC beside them."""
        row = [values[name] for name in kind.columns]
        return {**values, "mac": mac(self._region_key, self._framed(kind, row))}

    def holds(self, kind: RowKind, row: Row) -> bool:
        """Whether the row is as it was written."""
        stored = row[-1]
        return isinstance(stored, bytes) and mac_matches(self._region_key, self._framed(kind, row[:-1]), stored)

    def _framed(self, kind: RowKind, row: Row) -> bytes:
        fields = [kind.label, *self._place]
        for name, value in zip(kind.names, row, strict=True):
            if value is not None:
                fields += (name, _typed(value))
        return frame(*fields)


def _typed(value: Any) -> bytes:
    if isinstance(value, bytes):
        return b"b" + value
    if isinstance(value, int):
        return b"i%d" % value
    return b"s" + str(value).encode("utf-8", "surrogateescape")


def digest(*name: str | bytes) -> bytes:
    """A second name of a row, which finds it when a column of its first one was changed: 32 bytes."""
    return hashlib.sha256(frame(*(part if isinstance(part, bytes) else part.encode() for part in name))).digest()


# --- the shard's own row -----------------------------------------------------------------------------------------


def shard_values(row: ShardRow) -> Values:
    """The columns of a shard's own row, but for the MAC."""
    return {
        "id": 1,
        "partition": row.partition,
        "region": row.region,
        "account": row.account,
        "root_fingerprint": row.root_fingerprint,
        "wrapped_region_key": row.wrapped_region_key,
        "created_ns": row.created_ns,
    }


def shard_of(row: Row) -> ShardRow:
    """What a row says, whose MAC the caller has checked or will check."""
    values = SHARD.values(row)
    del values["id"]
    return ShardRow(**values)


# --- keys --------------------------------------------------------------------------------------------------------


def key_values(key: Key) -> Values:
    """The columns of a key, but for the MAC."""
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
    }


_SUITES: dict[str, tuple[int, ...]] = {}
"""Tuples of suites by their spelling: all keys share the few there are."""


def _suites(text: str) -> tuple[int, ...]:
    return _SUITES.setdefault(text, tuple(map(int, text.split(","))))


def key_of(row: Row) -> Key:
    """The key of a row whose MAC holds."""
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


# --- materials ---------------------------------------------------------------------------------------------------


def material_values(material: Material) -> Values:
    """The columns of a material, but for the MAC."""
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
        "revision": stored_revision(material),
    }


def stored_revision(material: Material) -> int | None:
    """A material that was never changed has none, as all had before there was one."""
    return None if material.revision == 1 else material.revision


def material_of(row: Row) -> Material:
    """The material of a row whose MAC holds."""
    values = MATERIAL.values(row)
    del values["digest"]
    values["origin"] = Origin(values["origin"])
    values["state"] = MaterialState(values["state"])
    values["number"] = values["number"] or 0
    values["rotation_type"] = values["rotation_type"] and RotationType(values["rotation_type"])
    values["revision"] = values["revision"] or 1
    return Material(**values)


# --- tags, pairs of import wrapping keys -------------------------------------------------------------------------


def tag_values(tag: Tag) -> Values:
    """The columns of a tag, but for the MAC."""
    return {"key_id": tag.key_id, "tag_key": tag.tag_key, "account": tag.account, "tag_value": tag.tag_value}


def tag_of(row: Row) -> Tag:
    """The tag of a row whose MAC holds."""
    return Tag(**TAG.values(row))


def pair_values(pair: ImportPair) -> Values:
    """The columns of a pair of wrapping keys, but for the MAC."""
    return {name: getattr(pair, name) for name in PAIR.columns}


def pair_of(row: Row) -> ImportPair:
    """The pair of a row whose MAC holds."""
    return ImportPair(**PAIR.values(row))


# --- access keys -------------------------------------------------------------------------------------------------


def access_key_values(access_key: AccessKey) -> Values:
    """The columns of an access key, but for the MAC."""
    return {name: getattr(access_key, name) for name in ACCESS_KEY.columns}


def access_key_of(row: Row) -> AccessKey:
    """The access key of a row whose MAC holds."""
    return AccessKey(**ACCESS_KEY.values(row))


# --- aliases -----------------------------------------------------------------------------------------------------


def alias_values(alias: Alias) -> Values:
    """The columns of an alias, but for the MAC."""
    return {
        "account": alias.account,
        "name": alias.name,
        "digest": digest(alias.account, alias.name),
        "sequence": alias.sequence,
        "arn": alias.arn,
        "target_key_id": alias.target_key_id,
        "created_ns": alias.created_ns,
        "updated_ns": alias.updated_ns,
        "revision": alias.revision,
    }


def alias_of(row: Row) -> Alias:
    """The alias of a row whose MAC holds."""
    values = ALIAS.values(row)
    del values["digest"]
    return Alias(**values)


# --- remembered answers ------------------------------------------------------------------------------------------


def answer_values(answer: RememberedAnswer) -> Values:
    """The columns of a remembered answer, but for the MAC."""
    return {
        "account": answer.account,
        "operation": answer.operation,
        "request_id": answer.request_id,
        "digest": digest(answer.account, answer.operation, answer.request_id),
        "request_digest": answer.request_digest,
        "response": answer.response,
        "created_ns": answer.created_ns,
    }


def answer_of(row: Row) -> RememberedAnswer:
    """The answer of a row whose MAC holds."""
    values = ANSWER.values(row)
    del values["digest"]
    return RememberedAnswer(**values)
