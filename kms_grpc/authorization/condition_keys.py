"""Condition keys: which there are, what of a request each one reads, and its values.

Names of keys are compared without regard to case; values are not. A key that AWS documents and this service cannot know
is taken in policies and counts as absent. A key that is not in the table is unknown.

Sources: https://docs.aws.amazon.com/kms/latest/developerguide/policy-conditions.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from kms_grpc.authentication.moments import iso_time
from kms_grpc.authorization.base import Question
from kms_grpc.authorization.caller import Caller

Found = tuple[str, ...] | None
Find = Callable[[Question, Caller, str], Found]


class ConditionKey(NamedTuple):
    """A condition key. Its name may end in `:` or `/`; the writer of a policy then chooses the rest."""

    name: str
    """In AWS's spelling."""
    reads: str
    """The attribute of the request that a decision reads with it (Decision.read)."""
    find: Find | None = None
    """Returns its values in a request. None: this service cannot know it."""
    many: bool = False
    """The key may have several values."""


class KeyReference(NamedTuple):
    """A condition key as a policy names it."""

    name: str
    """The key's name in the table, in lower case."""
    suffix: str = ""
    """The part that the policy's writer chose, in lower case."""


def key_of(reference: KeyReference) -> ConditionKey:
    """Returns the key that a reference means."""
    return _KEYS[reference.name]


def reference_to(name: str) -> KeyReference | None:
    """Returns the key that a policy names, in any case; None if there is no such key."""
    lower = name.lower()
    if lower in _KEYS and lower[-1] not in ":/":
        return KeyReference(lower)
    start = next((start for start in _STARTS if lower.startswith(start) and len(lower) > len(start)), None)
    return None if start is None else KeyReference(start, lower[len(start) :])


def _text(value: bool) -> str:
    return "true" if value else "false"


def _in(pairs: Mapping[str, str], name: str) -> Found:
    """Returns the values of the pairs with this name, in any case. There may be several such pairs."""
    return tuple([value for key, value in pairs.items() if key.lower() == name])


# --- the caller ----------------------------------------------------------------------------------------------------


def _principal_arn(question: Question, caller: Caller, suffix: str) -> Found:
    return (caller.role or caller.principal.arn,)


def _account(question: Question, caller: Caller, suffix: str) -> Found:
    return (caller.principal.account,)


def _principal_type(question: Question, caller: Caller, suffix: str) -> Found:
    kinds = {"user/": "User", "federated-user/": "FederatedUser"}
    resource = caller.principal.arn.split(":", 5)[5]
    found = next((kind for start, kind in kinds.items() if resource.startswith(start)), "AssumedRole")
    return ("Account" if caller.is_root else found,)


def _username(question: Question, caller: Caller, suffix: str) -> Found:
    resource = caller.principal.arn.split(":", 5)[5]
    return (resource.rpartition("/")[2],) if resource.startswith("user/") else None


def _userid(question: Question, caller: Caller, suffix: str) -> Found:
    return (caller.principal.account if caller.is_root else caller.principal.name,)


def _principal_tag(question: Question, caller: Caller, suffix: str) -> Found:
    return _in(caller.tags, suffix)


def _is_service(question: Question, caller: Caller, suffix: str) -> Found:
    return (_text(caller.principal.service is not None),)


def _service(question: Question, caller: Caller, suffix: str) -> Found:
    return None if caller.principal.service is None else (caller.principal.service,)


# --- the key -------------------------------------------------------------------------------------------------------


def _key_or_call(name: str, of_key: Callable[[Question], str]) -> Find:
    """Returns a function for keys that CreateKey's request has as well."""

    def find(question: Question, caller: Caller, suffix: str) -> Found:
        return question.facts.find(name, "") if question.key is None else (of_key(question),)

    return find


def _resource_account(question: Question, caller: Caller, suffix: str) -> Found:
    """Returns the account of the key. What has no key belongs to the caller's account."""
    return (caller.principal.account if question.key is None else question.key.account,)


def _spec(question: Question) -> str:
    assert question.key is not None
    return question.key.spec


def _usage(question: Question) -> str:
    assert question.key is not None
    return str(question.key.usage)


def _origin(question: Question) -> str:
    assert question.key is not None
    return str(question.key.origin)


def _multi_region(question: Question) -> str:
    assert question.key is not None
    return _text(question.key.multi_region)


# --- the encryption context ----------------------------------------------------------------------------------------


def _context(question: Question, caller: Caller, suffix: str) -> Found:
    return _in(question.encryption_context, suffix)


def _context_keys(question: Question, caller: Caller, suffix: str) -> Found:
    return tuple(question.encryption_context)


def _token_issue_time(question: Question, caller: Caller, suffix: str) -> Found:
    """Returns the time for temporary credentials: sessions and assertions."""
    issued_ns = question.principal.issued_ns
    return None if issued_ns is None else (iso_time(issued_ns),)


def _called(name: str) -> Find:
    """Returns a function that asks the call itself."""
    lower = name.lower()
    return lambda question, caller, suffix: question.facts.find(lower, suffix)


def _from_call(reads: str, *names: str, many: bool = False) -> list[ConditionKey]:
    return [ConditionKey(name, reads, _called(name), many) for name in names]


ABSENT: Final = (
    "aws:PrincipalOrgID", "aws:PrincipalOrgPaths", "aws:SourceVpc", "aws:SourceVpce", "aws:SourceVpcArn",
    "aws:VpceAccount", "aws:VpceOrgID", "aws:VpceOrgPaths", "aws:VpcSourceIp", "aws:SourceAccount", "aws:SourceArn",
    "aws:SourceOrgID", "aws:SourceOrgPaths", "aws:ResourceOrgID", "aws:ResourceOrgPaths", "aws:CalledVia",
    "aws:CalledViaFirst", "aws:CalledViaLast", "aws:MultiFactorAuthPresent", "aws:MultiFactorAuthAge", "aws:referer",
    "aws:FederatedProvider", "aws:SourceIdentity", "aws:AssumedRoot",
    "aws:Ec2InstanceSourceVpc", "aws:Ec2InstanceSourcePrivateIPv4", "aws:ChatbotSourceArn", "aws:SignInSessionArn",
    "aws:UserIdentityStoreArn", "ec2:RoleDelivery", "ec2:SourceInstanceArn", "lambda:SourceFunctionArn",
    # of operations that are not built
    "kms:SigningAlgorithm", "kms:MacAlgorithm", "kms:KeyAgreementAlgorithm", "kms:MessageType", "kms:DataKeyPairSpec",
    "kms:EncapsulationAlgorithm", "kms:PrimaryRegion", "kms:ReplicaRegion",
    "kms:MultiRegionKeyType", "kms:RecipientAttestation:",
)  # fmt: skip
"""Keys that AWS documents and no request here has: this service cannot know them, or does not have
the operations that fill them."""
_ABSENT_MANY: Final = {
    "aws:PrincipalOrgPaths", "aws:CalledVia", "aws:SourceOrgPaths", "aws:ResourceOrgPaths", "aws:VpceOrgPaths",
}  # fmt: skip

TABLE: Final = (
    ConditionKey("aws:PrincipalArn", "principal", _principal_arn),
    ConditionKey("aws:PrincipalAccount", "principal", _account),
    ConditionKey("aws:PrincipalType", "principal", _principal_type),
    ConditionKey("aws:PrincipalTag/", "principal", _principal_tag),
    ConditionKey("aws:PrincipalIsAWSService", "principal", _is_service),
    ConditionKey("aws:PrincipalServiceName", "principal", _service),
    ConditionKey("aws:PrincipalServiceNamesList", "principal", _service, many=True),
    ConditionKey("aws:ViaAWSService", "principal", _is_service),
    ConditionKey("aws:username", "principal", _username),
    ConditionKey("aws:userid", "principal", _userid),
    ConditionKey("aws:TokenIssueTime", "principal", _token_issue_time),
    ConditionKey("kms:CallerAccount", "principal", _account),
    ConditionKey("aws:ResourceAccount", "key", _resource_account),
    ConditionKey("kms:KeySpec", "key", _key_or_call("kms:keyspec", _spec)),
    ConditionKey("kms:KeyUsage", "key", _key_or_call("kms:keyusage", _usage)),
    ConditionKey("kms:KeyOrigin", "key", _key_or_call("kms:keyorigin", _origin)),
    ConditionKey("kms:MultiRegion", "key", _key_or_call("kms:multiregion", _multi_region)),
    ConditionKey("kms:EncryptionContext:", "encryption_context", _context),
    ConditionKey("kms:EncryptionContextKeys", "encryption_context", _context_keys, many=True),
    *_from_call("region", "aws:RequestedRegion", "kms:ViaService"),
    *_from_call("address", "aws:SourceIp", "aws:SecureTransport", "aws:UserAgent"),
    *_from_call("time", "aws:CurrentTime", "aws:EpochTime"),
    *_from_call("tags", "aws:ResourceTag/"),
    *_from_call("aliases", "kms:ResourceAliases", many=True),
    *_from_call("request", "aws:RequestTag/", "kms:RequestAlias", "kms:EncryptionAlgorithm", "kms:ReEncryptOnSameKey"),
    *_from_call("request", "kms:WrappingAlgorithm", "kms:WrappingKeySpec", "kms:ExpirationModel", "kms:ValidTo"),
    *_from_call("request", "kms:ScheduleKeyDeletionPendingWindowInDays", "kms:RotationPeriodInDays"),
    *_from_call("request", "kms:BypassPolicyLockoutSafetyCheck", "kms:PolicyName"),
    *_from_call("request", "aws:TagKeys", "kms:GrantOperations", many=True),
    *_from_call("request", "kms:GranteePrincipal", "kms:RetiringPrincipal", "kms:GrantConstraintType"),
    *_from_call("request", "kms:GranteeServicePrincipal", "kms:RetiringServicePrincipal", "kms:GrantIsForAWSResource"),
    *(ConditionKey(name, "principal", many=name in _ABSENT_MANY) for name in ABSENT),
)
"""All condition keys that a policy may name."""

_KEYS: Final = {key.name.lower(): key for key in TABLE}
_STARTS: Final = tuple(name for name in _KEYS if name[-1] in ":/")
