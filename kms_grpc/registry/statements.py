"""Every SQL statement of the registry, as SQLAlchemy Core expressions; compiled once per engine by its cache."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, and_, bindparam, delete, func, insert, select, update

from kms_grpc.model.key import KeyState
from kms_grpc.registry.rows import ACCESS_KEY, ALIAS, ANSWER, KEY, LATEST, MATERIAL, PAIR, SHARD, TAG
from kms_grpc.registry.tables import (
    access_keys,
    aliases,
    change_log,
    import_pairs,
    key_counts,
    keys,
    latest_time,
    materials,
    outbox,
    remembered_answers,
    shard,
    tags,
)

_DIGEST: BindParameter[Any] = bindparam("of_digest")
_AFTER: BindParameter[Any] = bindparam("after")
_LIMIT: BindParameter[Any] = bindparam("limit_rows")
_SEEN: BindParameter[Any] = bindparam("seen_revision")
_KEY: BindParameter[Any] = bindparam("of_key_id")

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
REMOVE_KEY = delete(keys).where(and_(keys.c.digest == _DIGEST, keys.c.revision == _SEEN))

COUNT_OF_KEYS = select(key_counts.c["keys"]).where(key_counts.c.account == bindparam("account"))
COUNT_ONE_MORE = (
    update(key_counts)
    .where(key_counts.c.account == bindparam("of_account"))
    .values({key_counts.c["keys"]: key_counts.c["keys"] + 1})
)
COUNT_ONE_LESS = (
    update(key_counts)
    .where(key_counts.c.account == bindparam("of_account"))
    .values({key_counts.c["keys"]: key_counts.c["keys"] - 1})
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
_SEEN_MATERIAL = and_(materials.c.digest == _DIGEST, materials.c.revision.is_not_distinct_from(_SEEN))
CHANGE_MATERIAL = update(materials).where(_SEEN_MATERIAL)
REMOVE_MATERIAL = delete(materials).where(_SEEN_MATERIAL)
REMOVE_MATERIALS = delete(materials).where(materials.c.key_id == _KEY)
_MATERIALS = MATERIAL.select.order_by(materials.c.number.nulls_first()).limit(_LIMIT)
FIRST_MATERIALS = _MATERIALS.where(materials.c.key_id == _KEY)
MATERIALS_AFTER = _MATERIALS.where(and_(materials.c.key_id == _KEY, materials.c.number > _AFTER))
LAST_MATERIAL = (
    select(materials.c.number)
    .where(materials.c.key_id == _KEY)
    .order_by(materials.c.number.desc().nulls_last())
    .limit(1)
)

# --- what is due -------------------------------------------------------------------------------------------------

_STATE: BindParameter[Any] = bindparam("state")
_BEFORE: BindParameter[Any] = bindparam("before")
DELETION_DUE = (
    KEY.select.where(and_(keys.c.state == _STATE, keys.c.deletion_ns <= _BEFORE))
    .order_by(keys.c.deletion_ns)
    .limit(_LIMIT)
)
ROTATION_DUE = (
    KEY.select.where(and_(keys.c.state == _STATE, keys.c.next_rotation_ns <= _BEFORE))
    .order_by(keys.c.next_rotation_ns)
    .limit(_LIMIT)
)
EXPIRY_DUE = (
    KEY.select.where(keys.c.key_id.in_(select(materials.c.key_id).where(materials.c.expires_ns <= _BEFORE)))
    .order_by(keys.c.key_id)
    .limit(_LIMIT)
)
DELETIONS = select(func.count(), func.min(keys.c.deletion_ns)).where(
    keys.c.state.in_((KeyState.PENDING_DELETION.value, KeyState.PENDING_REPLICA_DELETION.value))
)
NEXT_EXPIRY = select(func.min(materials.c.expires_ns))

# --- tags --------------------------------------------------------------------------------------------------------

TAGS_AFTER = (
    TAG.select.where(and_(tags.c.key_id == _KEY, tags.c.tag_key > _AFTER)).order_by(tags.c.tag_key).limit(_LIMIT)
)
ADD_TAG = insert(tags)
REMOVE_TAG = delete(tags).where(and_(tags.c.key_id == _KEY, tags.c.tag_key == bindparam("of_tag_key")))
REMOVE_TAGS = delete(tags).where(tags.c.key_id == _KEY)

# --- pairs of import wrapping keys -------------------------------------------------------------------------------

_PAIR: BindParameter[Any] = bindparam("of_pair_id")
_READY = and_(import_pairs.c.spec == bindparam("spec"), import_pairs.c.key_id.is_(None))
PAIR_BY_ID = PAIR.select.where(import_pairs.c.pair_id == _PAIR)
READY_PAIRS = PAIR.select.where(_READY).order_by(import_pairs.c.created_ns).limit(_LIMIT)
COUNT_READY_PAIRS = select(func.count()).select_from(import_pairs).where(_READY)
ADD_PAIR = insert(import_pairs)
_SEEN_PAIR = and_(import_pairs.c.pair_id == _PAIR, import_pairs.c.revision == _SEEN)
CHANGE_PAIR = update(import_pairs).where(_SEEN_PAIR)
REMOVE_PAIR = delete(import_pairs).where(_SEEN_PAIR)
REMOVE_PAIRS = delete(import_pairs).where(import_pairs.c.key_id == _KEY)
REMOVE_EXPIRED_PAIRS = delete(import_pairs).where(import_pairs.c.expires_ns <= _BEFORE)

# --- access keys -------------------------------------------------------------------------------------------------

ACCESS_KEY_BY_ID = ACCESS_KEY.select.where(access_keys.c.access_key_id == bindparam("of_access_key_id"))
ACCESS_KEYS = ACCESS_KEY.select.order_by(access_keys.c.created_ns, access_keys.c.access_key_id)
ADD_ACCESS_KEY = insert(access_keys)
REMOVE_ACCESS_KEY = delete(access_keys).where(access_keys.c.access_key_id == bindparam("of_access_key_id"))

# --- the latest time ---------------------------------------------------------------------------------------------

LATEST_TIME = LATEST.select
FORGET_LATEST_TIME = delete(latest_time)
ADD_LATEST_TIME = insert(latest_time)

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
ALIASES_OF_KEY = select(aliases.c.account, aliases.c.name).where(aliases.c.target_key_id == _KEY)
REMOVE_ALIASES = delete(aliases).where(aliases.c.target_key_id == _KEY)
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
