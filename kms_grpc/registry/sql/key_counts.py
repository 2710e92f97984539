"""Counts of customer managed keys by account, kept with each write so that a quota costs the same at any size."""

from __future__ import annotations

from sqlalchemy import bindparam, func, insert, select, update

from kms_grpc.model.key import KeyKind
from kms_grpc.registry.sql.reader import Reader
from kms_grpc.registry.sql.tables import key_counts, keys
from kms_grpc.registry.sql.writer import Writer

_NUMBER = key_counts.c["keys"]
_CHANGE = update(key_counts).where(key_counts.c.account == bindparam("of_account"))
_READ = select(_NUMBER).where(key_counts.c.account == bindparam("account"))
_ONE_MORE = _CHANGE.values({_NUMBER: _NUMBER + 1})
_ONE_LESS = _CHANGE.values({_NUMBER: _NUMBER - 1})
_FIRST = insert(key_counts)
_ALL = select(key_counts.c.account, _NUMBER)
_TRUE_COUNTS = select(keys.c.account, func.count()).where(keys.c.kind == bindparam("kind")).group_by(keys.c.account)


def count_of(reader: Reader, account: str) -> int:
    """Returns the number of customer managed keys of the account."""
    return reader.count(_READ, {"account": account})


def count_one_more(writer: Writer, account: str) -> None:
    """Counts a key that is added."""
    if writer.execute(_ONE_MORE, {"of_account": account}).rowcount == 0:
        writer.execute(_FIRST, {"account": account, "keys": 1})


def count_one_less(writer: Writer, account: str) -> None:
    """Counts a key that is removed."""
    writer.execute(_ONE_LESS, {"of_account": account})


def wrong_counts(reader: Reader) -> list[str]:
    """Returns the names of the counts that differ from the number of rows."""
    counted = dict(map(tuple, reader.all(_TRUE_COUNTS, {"kind": KeyKind.CUSTOMER_MANAGED.value})))
    kept = dict(map(tuple, reader.all(_ALL, {})))
    wrong = (account for account in counted | kept if counted.get(account, 0) != kept.get(account, 0))
    return [f"count of keys of account {account}" for account in wrong]
