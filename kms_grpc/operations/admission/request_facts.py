"""Values of condition keys that only a call knows: its address and time, the key's tags and aliases, its request.

authorization/condition_keys.py lists all condition keys. Each is looked up when a policy asks for it, since most
policies ask for none of these. Source: https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

from kms_grpc.audit.record import iso_time
from kms_grpc.authorization.default_key_policy import NAME
from kms_grpc.authorization.managed_key_policy import name_of_service
from kms_grpc.aws_members import aws_names
from kms_grpc.model.arn import ALIAS_PREFIX, Arn
from kms_grpc.model.key import Key
from kms_grpc.model.key_spec import SYMMETRIC_DEFAULT
from kms_grpc.operations.admission.selectors import KeySelector
from kms_grpc.operations.call import Call
from kms_grpc.v1 import keys_pb2

ALIASES_LIMIT: Final = 50
"""Most aliases of a key for which kms:ResourceAliases has values, as in AWS."""
TAGS_LIMIT: Final = 50
SECOND_NS: Final = 10**9

Found = tuple[str, ...] | None


class RequestFacts(NamedTuple):
    """Implements authorization.base.Facts for one call and one of its keys."""

    call: Call
    request: Message
    key: Key | None = None
    selector: KeySelector | None = None

    def find(self, name: str, suffix: str) -> Found:
        """See Facts. None for a condition key that this operation does not have."""
        return FINDERS[name](self, suffix)


# --- the call --------------------------------------------------------------------------------------------------------


def _region(facts: RequestFacts, suffix: str) -> Found:
    return (facts.call.shard.region,)


def _via_service(facts: RequestFacts, suffix: str) -> Found:
    """Returns `s3.eu-central-1.amazonaws.com`, for calls of a service alone."""
    return via_service(facts.call.principal.service, facts.call.shard.region)


def via_service(service: str | None, region: str) -> Found:
    """Returns kms:ViaService of a call that a service principal makes in a region."""
    if service is None:
        return None
    return (name_of_service(service, region),)


def _source_ip(facts: RequestFacts, suffix: str) -> Found:
    """Returns the peer's address; an IPv4 address in IPv6's notation is one. None for Unix sockets."""
    try:
        address = ipaddress.ip_address(facts.call.credentials.peer)
    except ValueError:
        return None
    return (str(getattr(address, "ipv4_mapped", None) or address),)


def _secure_transport(facts: RequestFacts, suffix: str) -> Found:
    """Says whether the call came under TLS: all ports have it or none, Unix sockets never."""
    encrypted = facts.call.service.serves_tls and not facts.call.credentials.peer.startswith("unix:")
    return ("true" if encrypted else "false",)


def _user_agent(facts: RequestFacts, suffix: str) -> Found:
    return (facts.call.credentials.user_agent,) if facts.call.credentials.user_agent else None


def _current_time(facts: RequestFacts, suffix: str) -> Found:
    return (iso_time(facts.call.time_ns),)


def _epoch_time(facts: RequestFacts, suffix: str) -> Found:
    return (str(facts.call.time_ns // SECOND_NS),)


# --- the key ---------------------------------------------------------------------------------------------------------


def _resource_tag(facts: RequestFacts, suffix: str) -> Found:
    if facts.key is None:
        return None
    tags = (facts.call.transaction or facts.call.shard.registry).tags
    found = tags.list_after(facts.key.key_id, "", TAGS_LIMIT)
    return tuple(tag.tag_value for tag in found if tag.tag_key.lower() == suffix)


def _resource_aliases(facts: RequestFacts, suffix: str) -> Found:
    """Returns the key's aliases; none of them where there are more than 50, so that no Allow relies on a part."""
    if facts.key is None:
        return None
    aliases = (facts.call.transaction or facts.call.shard.registry).aliases
    found = aliases.list_after(facts.key.account, facts.key.key_id, 0, ALIASES_LIMIT + 1)
    return None if len(found) > ALIASES_LIMIT else tuple(alias.name for alias in found)


def _request_alias(facts: RequestFacts, suffix: str) -> Found:
    """Returns the alias that the request names its key by."""
    return None if facts.selector is None else request_alias(facts.selector.name_in(facts.request))


def request_alias(sent: str) -> Found:
    """Returns kms:RequestAlias of a request that names its key by `sent`."""
    arn = Arn.parse(sent)
    name = sent if arn is None else arn.name
    return (name,) if name.startswith(ALIAS_PREFIX) else None


def _encryption_algorithm(facts: RequestFacts, suffix: str) -> Found:
    encrypts = facts.selector is not None and facts.selector.context is not None
    return (SYMMETRIC_DEFAULT,) if encrypts else None


def _on_same_key(facts: RequestFacts, suffix: str) -> Found:
    """Answers for the destination key of ReEncrypt; at the source key the other one is not known yet."""
    if facts.key is None or len(facts.call.keys) != 2:
        return None
    return ("true" if facts.call.keys[0].key_id == facts.key.key_id else "false",)


# --- the request -----------------------------------------------------------------------------------------------------


def _enumerated(operation: str, *fields: str, default: str | None = None) -> Callable[[RequestFacts, str], Found]:
    """Returns a function for a parameter whose values have AWS's spelling. Several fields: the first one that is set
    counts."""

    def find(facts: RequestFacts, suffix: str) -> Found:
        if facts.call.operation != operation:
            return None
        described = facts.request.DESCRIPTOR.fields_by_name
        sent = ((described[field].enum_type, getattr(facts.request, field)) for field in fields)
        named = next((aws_names(enum).get(number) for enum, number in sent if number), default)
        return None if named is None else (named,)

    return find


def _number(operation: str, field: str, default: int) -> Callable[[RequestFacts, str], Found]:
    """Returns a function for a number that counts with its default where it is left out."""

    def find(facts: RequestFacts, suffix: str) -> Found:
        if facts.call.operation != operation:
            return None
        sent: Any = getattr(facts.request, field) if facts.request.HasField(field) else default
        return (str(sent),)

    return find


def _multi_region(facts: RequestFacts, suffix: str) -> Found:
    if facts.call.operation != "CreateKey":
        return None
    return ("true" if facts.request.multi_region else "false",)  # type: ignore[attr-defined]


def _bypasses_check(facts: RequestFacts, suffix: str) -> Found:
    """Answers for CreateKey and PutKeyPolicy."""
    bypasses = getattr(facts.request, "bypass_policy_lockout_safety_check", None)
    return None if bypasses is None else ("true" if bypasses else "false",)


def _policy_name(facts: RequestFacts, suffix: str) -> Found:
    """Answers for PutKeyPolicy and GetKeyPolicy, whose default counts."""
    if "policy_name" not in facts.request.DESCRIPTOR.fields_by_name:
        return None
    return (facts.request.policy_name or NAME,)  # type: ignore[attr-defined]


def _valid_to(facts: RequestFacts, suffix: str) -> Found:
    if facts.call.operation != "ImportKeyMaterial" or not facts.request.HasField("valid_to"):
        return None
    return (str(facts.request.valid_to.seconds),)  # type: ignore[attr-defined]


def _request_tag(facts: RequestFacts, suffix: str) -> Found:
    tags: Any = getattr(facts.request, "tags", ())
    return tuple(tag.tag_value for tag in tags if tag.tag_key.lower() == suffix)


def _text(operation: str, field: str) -> Callable[[RequestFacts, str], Found]:
    """Returns a function for a text."""

    def find(facts: RequestFacts, suffix: str) -> Found:
        sent = getattr(facts.request, field) if facts.call.operation == operation else ""
        return (sent,) if sent else None

    return find


def _grant_operations(facts: RequestFacts, suffix: str) -> Found:
    if facts.call.operation != "CreateGrant":
        return None
    names = aws_names(keys_pb2.GrantOperation.DESCRIPTOR)
    return tuple(names[number] for number in facts.request.operations)  # type: ignore[attr-defined]


def _grant_constraints(facts: RequestFacts, suffix: str) -> Found:
    """Returns the kinds of constraints on the encryption context that a new grant has."""
    if facts.call.operation != "CreateGrant":
        return None
    limits: Any = facts.request.constraints  # type: ignore[attr-defined]
    kinds = {
        "EncryptionContextEquals": limits.encryption_context_equals,
        "EncryptionContextSubset": limits.encryption_context_subset,
    }
    return tuple(kind for kind, pairs in kinds.items() if pairs)


def _grant_is_for_service(facts: RequestFacts, suffix: str) -> Found:
    if facts.call.operation not in ("CreateGrant", "ListGrants", "RevokeGrant"):
        return None
    return ("true" if facts.call.principal.service is not None else "false",)


def _tag_keys(facts: RequestFacts, suffix: str) -> Found:
    tags: Any = getattr(facts.request, "tags", ())
    return (*(tag.tag_key for tag in tags), *getattr(facts.request, "tag_keys", ()))


FINDERS: Final = {
    "aws:requestedregion": _region,
    "kms:viaservice": _via_service,
    "aws:sourceip": _source_ip,
    "aws:securetransport": _secure_transport,
    "aws:useragent": _user_agent,
    "aws:currenttime": _current_time,
    "aws:epochtime": _epoch_time,
    "aws:resourcetag/": _resource_tag,
    "kms:resourcealiases": _resource_aliases,
    "kms:requestalias": _request_alias,
    "kms:encryptionalgorithm": _encryption_algorithm,
    "kms:reencryptonsamekey": _on_same_key,
    "aws:requesttag/": _request_tag,
    "aws:tagkeys": _tag_keys,
    "kms:keyspec": _enumerated("CreateKey", "key_spec", "customer_master_key_spec", default=SYMMETRIC_DEFAULT),
    "kms:keyusage": _enumerated("CreateKey", "key_usage", default="ENCRYPT_DECRYPT"),
    "kms:keyorigin": _enumerated("CreateKey", "origin", default="AWS_KMS"),
    "kms:multiregion": _multi_region,
    "kms:wrappingalgorithm": _enumerated("GetParametersForImport", "wrapping_algorithm"),
    "kms:wrappingkeyspec": _enumerated("GetParametersForImport", "wrapping_key_spec"),
    "kms:expirationmodel": _enumerated("ImportKeyMaterial", "expiration_model", default="KEY_MATERIAL_EXPIRES"),
    "kms:validto": _valid_to,
    "kms:bypasspolicylockoutsafetycheck": _bypasses_check,
    "kms:policyname": _policy_name,
    "kms:grantoperations": _grant_operations,
    "kms:grantconstrainttype": _grant_constraints,
    "kms:grantisforawsresource": _grant_is_for_service,
    "kms:granteeprincipal": _text("CreateGrant", "grantee_principal"),
    "kms:retiringprincipal": _text("CreateGrant", "retiring_principal"),
    "kms:granteeserviceprincipal": _text("CreateGrant", "grantee_service_principal"),
    "kms:retiringserviceprincipal": _text("CreateGrant", "retiring_service_principal"),
    "kms:schedulekeydeletionpendingwindowindays": _number("ScheduleKeyDeletion", "pending_window_in_days", 30),
    "kms:rotationperiodindays": _number("EnableKeyRotation", "rotation_period_in_days", 365),
}
