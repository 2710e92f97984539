"""Rows of grants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, insert, select

from kms_grpc.model.grant import Constraints, Grant, GrantOperation
from kms_grpc.registry.grant_digests import parameters, selector
from kms_grpc.registry.sql.reader import AFTER, DIGEST, LIMIT, Reader
from kms_grpc.registry.sql.rows import Row, RowKind, Values, digest
from kms_grpc.registry.sql.tables import grants
from kms_grpc.registry.sql.writer import OF_KEY, Writer

GRANT = RowKind(grants, lambda place, values: f"grant {values['grant_id']} of key {place.key_arn(values)}")

_ON_KEY = grants.c.key_id == OF_KEY
_TO = and_(_ON_KEY, grants.c.grantee == bindparam("of_grantee"))
_ALLOWS = grants.c.operations.like(bindparam("allowing"))
_BY_ID = GRANT.select.where(grants.c.grant_id == bindparam("grant_id"))
_BY_DIGEST = GRANT.select.where(grants.c.digest == DIGEST)
_SAME = GRANT.select.where(and_(_ON_KEY, grants.c.parameters == bindparam("of_parameters"))).limit(LIMIT)
_COUNT = select(func.count()).select_from(grants).where(_ON_KEY)
_ADD = insert(grants)
_REMOVE = delete(grants).where(grants.c.digest == DIGEST)
_REMOVE_ALL = delete(grants).where(_ON_KEY)


def _page(*where: ColumnElement[bool]) -> Any:
    return GRANT.select.where(and_(*where, grants.c.sequence > AFTER)).order_by(grants.c.sequence).limit(LIMIT)


_LIST = _page(_ON_KEY)
_LIST_TO = _page(_TO)
_ALLOWING = _page(_TO, _ALLOWS)
_SELECTED = _page(_TO, grants.c.selector == bindparam("of_selector"), _ALLOWS)
_RETIRED_BY = grants.c.retiring == bindparam("of_retiring")
_RETIRABLE = _page(_RETIRED_BY)
_RETIRABLE_IN = _page(_RETIRED_BY, grants.c.account == bindparam("of_account"))


class SqlGrants:
    """Implements grants.Grants."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def find(self, grant_id: str) -> Grant | None:
        row, damaged = self._reader.find(GRANT, _BY_ID, _BY_DIGEST, grant_id=grant_id)
        for other in damaged:
            raise self._reader.damage.unavailable(GRANT.describe(self._reader.damage.place, GRANT.values(other)))
        return _grant(row) if row is not None else None

    def same_as(self, grant: Grant) -> Grant | None:
        named = {"of_key_id": grant.key_id, "of_parameters": parameters(grant)}
        return next(iter(self._listed(_SAME, named, 1)), None)

    def count(self, key_id: str) -> int:
        return self._reader.count(_COUNT, {"of_key_id": key_id})

    def list_after(self, key_id: str, grantee: str | None, sequence: int, limit: int) -> Sequence[Grant]:
        named: Values = {"of_key_id": key_id, "after": sequence}
        if grantee is None:
            return self._listed(_LIST, named, limit)
        return self._listed(_LIST_TO, {**named, "of_grantee": grantee}, limit)

    def retirable_after(self, retiring: str, account: str | None, sequence: int, limit: int) -> Sequence[Grant]:
        named: Values = {"of_retiring": retiring, "after": sequence}
        if account is None:
            return self._listed(_RETIRABLE, named, limit)
        return self._listed(_RETIRABLE_IN, {**named, "of_account": account}, limit)

    def allowing(
        self, key_id: str, grantee: str, operation: GrantOperation, selected: bytes | None, sequence: int, limit: int
    ) -> Sequence[Grant]:
        named = {"of_key_id": key_id, "of_grantee": grantee, "allowing": f"%,{operation},%", "after": sequence}
        if selected is None:
            return self._listed(_ALLOWING, named, limit)
        return self._listed(_SELECTED, {**named, "of_selector": selected}, limit)

    def _listed(self, statement: Any, named: Values, limit: int) -> Sequence[Grant]:
        return [_grant(row) for row in self._reader.page(GRANT, statement, named, limit)]


class SqlWritableGrants(SqlGrants):
    """Implements grants.WritableGrants."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._writer = writer

    def add(self, grant: Grant) -> Grant:
        grant = replace(grant, sequence=self._log(grant.key_id))
        self._writer.add(_ADD, GRANT, _values(grant), f"Grant {grant.grant_id} already exists")
        return grant

    def remove(self, grant: Grant) -> None:
        self._writer.remove_seen(_REMOVE, GRANT, {"of_digest": digest(grant.grant_id)}, f"Grant {grant.grant_id}")
        self._log(grant.key_id)

    def remove_all(self, key_id: str) -> None:
        """Removes all grants of a key."""
        self._writer.remove(_REMOVE_ALL, GRANT, {"of_key_id": key_id})

    def _log(self, key_id: str) -> int:
        """Touches the key: Permits and streams of its callers may rely on its grants."""
        self._writer.touched.add(("key", key_id))
        return self._writer.log_change("grants", key_id)


def _values(grant: Grant) -> Values:
    limits = grant.constraints
    return {
        "grant_id": grant.grant_id,
        "digest": digest(grant.grant_id),
        "sequence": grant.sequence,
        "key_id": grant.key_id,
        "account": grant.account,
        "issuing_account": grant.issuing_account,
        "grantee": grant.grantee,
        "retiring": grant.retiring,
        "operations": f",{','.join(grant.operations)},",
        "context_subset": _written(limits.subset),
        "context_equals": _written(limits.equals),
        "source_arn": limits.source_arn,
        "selector": selector(limits),
        "name": grant.name,
        "parameters": None if grant.name is None else parameters(grant),
        "created_ns": grant.created_ns,
    }


def _written(pairs: Mapping[str, str]) -> str | None:
    return json.dumps(dict(sorted(pairs.items())), ensure_ascii=False) if pairs else None


def _read(text: str | None) -> Mapping[str, str]:
    return {} if text is None else json.loads(text)


def _grant(row: Row) -> Grant:
    values = GRANT.values(row)
    for derived in ("digest", "selector", "parameters"):
        del values[derived]
    values["constraints"] = Constraints(
        subset=_read(values.pop("context_subset")),
        equals=_read(values.pop("context_equals")),
        source_arn=values.pop("source_arn"),
    )
    values["operations"] = tuple(GrantOperation(name) for name in values["operations"].strip(",").split(","))
    return Grant(**values)
