"""Finds the key that a caller's KeyId names.

Key ids and alias names mean keys of the caller's own account in the called region; only an ARN reaches another
account, and there the answer is AccessDeniedException whether such a key exists or not. Texts are AWS's. Source:
https://docs.aws.amazon.com/kms/latest/developerguide/find-cmk-id-arn.html
"""

from __future__ import annotations

from kms_grpc.errors import (
    AccessDeniedException,
    InvalidArnException,
    KMSError,
    NotAuthorizedException,
    NotFoundException,
    ValidationException,
)
from kms_grpc.model.arn import ALIAS_PREFIX, RESERVED_ALIAS_PREFIX, Arn, alias_arn, is_alias_name, is_key_id, key_arn
from kms_grpc.model.key import Alias, Key, KeyKind
from kms_grpc.model.key_transitions import as_of
from kms_grpc.operations.admission import managed_keys
from kms_grpc.operations.call import Call


def resolve(call: Call, text: str, action: str, *, aliases: bool, invalid_arn: bool) -> Key:
    """Returns the key that `text` names. `aliases`: alias names and ARNs are accepted. `invalid_arn`: the operation has
    InvalidArnException among its errors."""
    if text.startswith("arn:"):
        return _by_arn(call, text, action, aliases, invalid_arn)
    if aliases and is_alias_name(text):
        return _by_alias(call, call.account, text)
    if is_key_id(text):
        return _by_id(call, call.account, text)
    raise NotFoundException(f"Invalid keyId '{text}'")


def find_key(call: Call, key_id: str) -> Key | None:
    """Returns a key as of now (expired material is gone), from the transaction inside a write, else from the shard's
    cache. None for AWS owned keys, which callers cannot see."""
    if call.transaction is None:
        _rely_on(call, "key", key_id)
        key = call.shard.find_key(key_id)
    else:
        key = call.transaction.keys.find(key_id)
    return None if key is None or key.kind is KeyKind.AWS_OWNED else as_of(key, call.time_ns)


def stored(call: Call, key: Key) -> Key:
    """Returns the key as its row has it, inside a write, without applying expiries. A handler that changes something
    else must start from this: writing the key as of now would make an expiry final even if the clock was wrong."""
    found = call.writing.keys.find(key.key_id)
    assert found is not None, "the transaction has just found it"
    return found


def find_alias(call: Call, account: str, name: str) -> Alias | None:
    """Returns an alias, from the transaction inside a write, else from the shard's cache."""
    if call.transaction is not None:
        return call.transaction.aliases.find(account, name)
    _rely_on(call, "alias", f"{account}/{name}")
    return call.shard.find_alias(account, name)


def _rely_on(call: Call, kind: str, name: str) -> None:
    """Reads the name's word, then lets the cache catch up with all that was announced before."""
    if call.basis is not None:
        call.basis.rely_on(kind, name)
    call.shard.catch_up()


def denied(call: Call, action: str) -> KMSError:
    """Returns the error for a caller without permission. Its text is the same whether the key exists or not, so that no
    caller learns which key ids another account has."""
    return AccessDeniedException(
        f"User: {call.principal.arn} is not authorized to perform: {action} on this resource because the resource does"
        " not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly"
        " denies access"
    )


def denied_by_its_policy(call: Call, action: str, key: Key) -> KMSError:
    """Returns the error for a caller whose own policies would allow a change of a key of its account, while the key's
    policy allows it to nobody that the caller is. No policy of an AWS managed key allows changes."""
    return AccessDeniedException(
        f"User: {call.principal.arn} is not authorized to perform: {action} on resource: {key.arn} because no"
        f" resource-based policy allows the {action} action",
        key=key.arn,
    )


def alias_not_found(call: Call, account: str, name: str) -> KMSError:
    """Returns AWS's error for an alias that does not exist."""
    return NotFoundException(f"Alias {alias_arn(call.shard.partition, call.shard.region, account, name)} is not found.")


def _by_arn(call: Call, text: str, action: str, aliases: bool, invalid_arn: bool) -> Key:
    arn = Arn.parse(text)
    if arn is None or not _names_something(arn, aliases):
        if invalid_arn and arn is None:
            raise InvalidArnException(f"Invalid arn '{text}'")
        raise NotFoundException(f"Invalid keyId '{text}'")
    if arn.partition != call.shard.partition or arn.region != call.shard.region:
        raise NotFoundException(f"Invalid arn {arn.region}")
    try:
        return _by_alias(call, arn.account, arn.name) if arn.is_alias else _by_id(call, arn.account, arn.name)
    except NotFoundException:
        if arn.account != call.account:
            raise denied(call, action) from None
        raise


def _names_something(arn: Arn, aliases: bool) -> bool:
    return aliases and is_alias_name(arn.name) if arn.is_alias else is_key_id(arn.name)


def _by_id(call: Call, account: str, key_id: str) -> Key:
    key = find_key(call, key_id)
    if key is None or key.account != account:
        raise NotFoundException(
            f"Key '{key_arn(call.shard.partition, call.shard.region, account, key_id)}' does not exist"
        )
    return key


def _by_alias(call: Call, account: str, name: str) -> Key:
    alias = find_alias(call, account, name)
    if alias is None and name.startswith(RESERVED_ALIAS_PREFIX) and call.transaction is None:
        alias = managed_keys.provide(call, account, name)
    if alias is None:
        raise alias_not_found(call, account, name)
    key = find_key(call, alias.target_key_id)
    if key is None:
        raise alias_not_found(call, account, name)
    return key


def alias_target(call: Call, name: str) -> Key:
    """Returns the target of an alias of the caller's account. Raises NotFoundException if there is no such alias."""
    check_alias_prefix(name)
    if not is_alias_name(name):
        raise alias_not_found(call, call.account, name)
    return _by_alias(call, call.account, name)


def check_alias_prefix(name: str) -> None:
    """Checks the prefix of an alias name. Raises ValidationException, and NotAuthorizedException (with an empty text,
    like AWS's) for names in `alias/aws/`, which belong to AWS managed keys."""
    if not name.startswith(ALIAS_PREFIX):
        raise ValidationException(
            f'Alias must start with the prefix "{ALIAS_PREFIX}". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html'
        )
    if name.startswith(RESERVED_ALIAS_PREFIX):
        raise NotAuthorizedException
