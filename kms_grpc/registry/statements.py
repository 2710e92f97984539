"""Every SQL statement of the registry, as SQLAlchemy Core expressions; compiled once per engine by its cache."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, and_, bindparam, delete, func, insert, select, update

from kms_grpc.registry.rows import ALIAS, ANSWER, KEY, MATERIAL, SHARD
from kms_grpc.registry.tables import (
    aliases,
    change_log,
    key_counts,
    keys,
    materials,
    outbox,
    remembered_answers,
    shard,
)

_DIGEST: BindParameter[Any] = bindparam("of_digest")
_AFTER: BindParameter[Any] = bindparam("after")
_LIMIT: BindParameter[Any] = bindparam("limit_rows")
_SEEN: BindParameter[Any] = bindparam("seen_revision")

# --- the shard's own row -----------------------------------------------------------------------------------------

SHARD_ROW = SHARD.select
ADD_SHARD = insert(shard)

# --- keys --------------------------------------------------------------------------------------------------------

KEY_BY_NAME = KEY.select.where(keys.c.key_id == bindparam("key_id"))
KEY_BY_DIGEST = KEY.select.where(keys.c.digest == _DIGEST)
KEYS_AFTER = (
    KEY.select.where(and_(keys.c.account == bindparam("account"), keys.c.sequence > _AFTER))
    .order_by(keys.c.sequence)
    .limit(_LIMIT)
)
ADD_KEY = insert(keys)
CHANGE_KEY = update(keys).where(and_(keys.c.digest == _DIGEST, keys.c.revision == _SEEN))

COUNT_OF_KEYS = select(key_counts.c["keys"]).where(key_counts.c.account == bindparam("account"))
COUNT_ONE_MORE = (
    update(key_counts)
    .where(key_counts.c.account == bindparam("of_account"))
    .values({key_counts.c["keys"]: key_counts.c["keys"] + 1})
)
COUNT_THE_FIRST = insert(key_counts)
COUNTS = select(key_counts.c.account, key_counts.c["keys"])
KEYS_BY_ACCOUNT = select(keys.c.account, func.count()).where(keys.c.kind == bindparam("kind")).group_by(keys.c.account)

# --- materials ---------------------------------------------------------------------------------------------------

MATERIAL_BY_NAME = MATERIAL.select.where(
    and_(materials.c.key_id == bindparam("key_id"), materials.c.material_id == bindparam("material_id"))
)
MATERIAL_BY_DIGEST = MATERIAL.select.where(materials.c.digest == _DIGEST)
ADD_MATERIAL = insert(materials)

# --- aliases -----------------------------------------------------------------------------------------------------

ALIAS_BY_NAME = ALIAS.select.where(and_(aliases.c.account == bindparam("account"), aliases.c.name == bindparam("name")))
ALIAS_BY_DIGEST = ALIAS.select.where(aliases.c.digest == _DIGEST)
ALIASES_AFTER = (
    ALIAS.select.where(and_(aliases.c.account == bindparam("account"), aliases.c.sequence > _AFTER))
    .order_by(aliases.c.sequence)
    .limit(_LIMIT)
)
ALIASES_OF_KEY_AFTER = (
    ALIAS.select.where(
        and_(
            aliases.c.target_key_id == bindparam("key_id"),
            aliases.c.account == bindparam("account"),
            aliases.c.sequence > _AFTER,
        )
    )
    .order_by(aliases.c.sequence)
    .limit(_LIMIT)
)
COUNT_ALIASES = select(func.count()).select_from(aliases).where(aliases.c.target_key_id == bindparam("key_id"))
ADD_ALIAS = insert(aliases)
CHANGE_ALIAS = update(aliases).where(and_(aliases.c.digest == _DIGEST, aliases.c.revision == _SEEN))
REMOVE_ALIAS = delete(aliases).where(and_(aliases.c.digest == _DIGEST, aliases.c.revision == _SEEN))

# --- the change log ----------------------------------------------------------------------------------------------

ADD_CHANGE = insert(change_log)
LAST_CHANGE = select(func.max(change_log.c.sequence))
CHANGES_AFTER = (
    select(change_log.c.sequence, change_log.c.kind, change_log.c.name)
    .where(change_log.c.sequence > _AFTER)
    .order_by(change_log.c.sequence)
    .limit(_LIMIT)
)
FORGET_CHANGES = delete(change_log).where(change_log.c.sequence <= bindparam("until"))

# --- remembered answers ------------------------------------------------------------------------------------------

ANSWER_BY_NAME = ANSWER.select.where(
    and_(
        remembered_answers.c.account == bindparam("account"),
        remembered_answers.c.operation == bindparam("operation"),
        remembered_answers.c.request_id == bindparam("request_id"),
    )
)
ANSWER_BY_DIGEST = ANSWER.select.where(remembered_answers.c.digest == _DIGEST)
FORGET_ANSWER = delete(remembered_answers).where(remembered_answers.c.digest == _DIGEST)
ADD_ANSWER = insert(remembered_answers)
FORGET_ANSWERS = delete(remembered_answers).where(remembered_answers.c.created_ns < bindparam("before"))

# --- the outbox --------------------------------------------------------------------------------------------------

ADD_RECORD = insert(outbox)
OUTBOX = select(outbox.c.event_id, outbox.c.account, outbox.c.record).order_by(outbox.c.position).limit(_LIMIT)
CLEAR_OUTBOX = delete(outbox).where(outbox.c.event_id.in_(bindparam("event_ids", expanding=True)))
