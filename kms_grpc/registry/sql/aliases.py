"""Rows of aliases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import and_, bindparam, delete, func, insert, select, update

from kms_grpc.errors import AlreadyExistsException
from kms_grpc.model.arn import alias_arn
from kms_grpc.model.key import Alias
from kms_grpc.registry.sql.reader import AFTER, DIGEST, LIMIT, Reader
from kms_grpc.registry.sql.rows import Row, RowKind, Values, digest
from kms_grpc.registry.sql.tables import aliases
from kms_grpc.registry.sql.writer import OF_KEY, SEEN, Writer

ALIAS = RowKind(aliases, lambda place, values: f"alias {values['arn']}")

_OF_ACCOUNT = aliases.c.account == bindparam("account")
_TO_KEY = aliases.c.target_key_id == OF_KEY
_OF_REVISION = and_(aliases.c.digest == DIGEST, aliases.c.revision == SEEN)
_BY_NAME = ALIAS.select.where(and_(_OF_ACCOUNT, aliases.c.name == bindparam("name")))
_BY_DIGEST = ALIAS.select.where(aliases.c.digest == DIGEST)
_PAGE = ALIAS.select.order_by(aliases.c.sequence).limit(LIMIT)
_LIST = _PAGE.where(and_(_OF_ACCOUNT, aliases.c.sequence > AFTER))
_LIST_OF_KEY = _PAGE.where(and_(_TO_KEY, _OF_ACCOUNT, aliases.c.sequence > AFTER))
_COUNT = select(func.count()).select_from(aliases).where(_TO_KEY)
_ADD = insert(aliases)
_CHANGE = update(aliases).where(_OF_REVISION)
_REMOVE = delete(aliases).where(_OF_REVISION)
_NAMES_OF_KEY = select(aliases.c.account, aliases.c.name).where(_TO_KEY)
_REMOVE_ALL = delete(aliases).where(_TO_KEY)


class SqlAliases:
    """Implements base.Aliases."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def find(self, account: str, name: str) -> Alias | None:
        row, damaged = self._reader.find(ALIAS, _BY_NAME, _BY_DIGEST, account=account, name=name)
        if any(_is_row_of(other, account, name) for other in damaged):
            raise self._reader.damage.unavailable(alias_arn(*self._reader.damage.place, account, name))
        return _alias(row) if row is not None else None

    def count(self, key_id: str) -> int:
        return self._reader.count(_COUNT, {"of_key_id": key_id})

    def list_after(self, account: str, key_id: str | None, sequence: int, limit: int) -> Sequence[Alias]:
        parameters: Values = {"account": account, "after": sequence}
        if key_id is None:
            rows = self._reader.page(ALIAS, _LIST, parameters, limit)
        else:
            rows = self._reader.page(ALIAS, _LIST_OF_KEY, {**parameters, "of_key_id": key_id}, limit)
        return [_alias(row) for row in rows]


class SqlWritableAliases(SqlAliases):
    """Implements base.WritableAliases."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._writer = writer

    def add(self, alias: Alias) -> Alias:
        exists = f"An alias with the name {alias.arn} already exists"
        if self.find(alias.account, alias.name) is not None:
            raise AlreadyExistsException(exists, key=alias.arn)
        alias = replace(alias, sequence=self._log(alias.account, alias.name, alias.target_key_id))
        self._writer.add(_ADD, ALIAS, _values(alias), exists)
        return alias

    def change(self, alias: Alias) -> Alias:
        changed = replace(alias, revision=alias.revision + 1)
        former = self.find(alias.account, alias.name)
        self._writer.change(_CHANGE, ALIAS, _values(changed), _seen(alias), alias.arn)
        targets = (alias.target_key_id,) if former is None else (alias.target_key_id, former.target_key_id)
        self._log(alias.account, alias.name, *targets)
        return changed

    def remove(self, alias: Alias) -> None:
        self._writer.remove_seen(_REMOVE, ALIAS, _seen(alias), alias.arn)
        self._log(alias.account, alias.name, alias.target_key_id)

    def remove_all(self, key_id: str) -> None:
        """Removes all aliases that point to a key."""
        for account, name in self._writer.all(_NAMES_OF_KEY, {"of_key_id": key_id}):
            self._log(account, name, key_id)
        self._writer.remove(_REMOVE_ALL, ALIAS, {"of_key_id": key_id})

    def _log(self, account: str, name: str, *targets: str) -> int:
        self._writer.touched.update(("key", key_id) for key_id in targets)
        return self._writer.log_change("alias", f"{account}/{name}")


def _seen(alias: Alias) -> Values:
    return {"of_digest": digest(alias.account, alias.name), "seen_revision": alias.revision}


def _values(alias: Alias) -> Values:
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


def _alias(row: Row) -> Alias:
    values = ALIAS.values(row)
    del values["digest"]
    return Alias(**values)


def _is_row_of(row: Row, account: str, name: str) -> bool:
    """Returns whether a damaged row is that alias's: at least two of its names (name, digest and ARN) say so."""
    values = ALIAS.values(row)
    by_arn = str(values["arn"]).endswith(f":{account}:{name}")
    by_name = values["account"] == account and values["name"] == name
    return int(sum((by_name, values["digest"] == digest(account, name), by_arn))) >= 2
