"""The table of cases: a call, its preparation and the expected response. The tests run all rows through both doors.

A row without an error must succeed. Texts are AWS's where known; {arn}, {id}, {alias} … stand for what the case made.
Sources: https://docs.aws.amazon.com/kms/latest/APIReference/ and the service model of botocore (kms/2014-11-01).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kms_grpc.operations.contract.descriptors import permissions
from tests.aws.doors import OPERATIONS, Members
from tests.aws.world import CONTEXT, FOREIGN, NEVER, OTHER_REGION, UNKNOWN, World, arn_of, flipped, in_days
from tests.aws_facts import TAKES_ALIASES, answer_in, errors_of, members_of
from tests.examples import EXAMPLES, METHODS, OPEN_POLICY, ORDERS

Prepare = Callable[[World], Members]


class Case(NamedTuple):
    """One call. `prepare` creates what it needs and returns its members; `error` is empty if the call succeeds."""

    operation: str
    why: str
    prepare: Prepare
    error: str = ""
    text: str = ""

    @property
    def id(self) -> str:
        return f"{self.operation}-{self.error or 'done'}-{self.why}".replace(" ", "_")


# --- calls on one key: the operation's example, with the key that a case is about --------------------------------

ON_A_KEY = {name: list(EXAMPLES[name].named)[-1] for name in OPERATIONS if name in EXAMPLES and EXAMPLES[name].named}
"""The field that names the key by id or ARN; of two the last, such as ReEncrypt's destination."""
DISABLED = "{arn} is disabled."
PENDING_DELETION = "{arn} is pending deletion."
PENDING_IMPORT = "{arn} is pending import."
UNSUPPORTED = "UnsupportedOperationException"
NO_TOKEN = "InvalidGrantTokenException"
TOKEN_TEXT = "The grant token is not valid: send a token of CreateGrant of this region unchanged."
MADE_BEFORE = ("Decrypt", "RetireGrant", "RevokeGrant")
"""Operations whose example has something that was made with its key."""


def on(operation: str, key: Callable[[World], str]) -> Prepare:
    """Prepares the operation's example for the key that `key` makes; it is made last, so that facts name it."""
    field = ON_A_KEY[operation]
    member = METHODS[operation].input_type.fields_by_name[field].json_name
    return lambda world: world.example(operation, without=field) | {member: key(world)}


def in_state(state: str) -> Callable[[World], str]:
    return lambda world: world.key(state)


def _of_names() -> Iterator[Case]:
    """Yields cases of invalid key identifiers for every operation on a key."""
    for name in ON_A_KEY:
        unknown = f"Key '{arn_of(UNKNOWN)}' does not exist"
        yield Case(name, "unknown id", on(name, lambda w: UNKNOWN), "NotFoundException", unknown)
        yield Case(name, "unknown ARN", on(name, lambda w: arn_of(UNKNOWN)), "NotFoundException", unknown)
        hexadecimal = UNKNOWN.replace("-", "")
        invalid = f"Invalid keyId '{hexadecimal}'"
        yield Case(name, "not an id", on(name, lambda w, x=hexadecimal: x), "NotFoundException", invalid)
        yield Case(name, "another region", on(name, lambda w: arn_of(UNKNOWN, OTHER_REGION)), "NotFoundException",
                   f"Invalid arn {OTHER_REGION}")  # fmt: skip
        knows = "InvalidArnException" in errors_of(name)
        error = "InvalidArnException" if knows else "NotFoundException"
        text = "Invalid arn 'arn:aws:kms'" if knows else "Invalid keyId 'arn:aws:kms'"
        yield Case(name, "not an ARN", on(name, lambda w: "arn:aws:kms"), error, text)
        yield Case(name, "another account", on(name, lambda w: FOREIGN), "AccessDeniedException", _denied(name))
        if ON_A_KEY[name] != "target_key_id":
            yield from _of_aliases(name)


def _of_aliases(name: str) -> Iterator[Case]:
    if name in TAKES_ALIASES:
        missing = "Alias arn:aws:kms:{region}:{account}:alias/none is not found."
        yield Case(name, "unknown alias", on(name, lambda w: "alias/none"), "NotFoundException", missing)
    else:
        text = "Invalid keyId 'alias/none'"
        yield Case(name, "an alias", on(name, lambda w: "alias/none"), "NotFoundException", text)


def _denied(operation: str) -> str:
    action = permissions(METHODS[operation])[-1]
    return (
        f"User: arn:aws:iam::{{account}}:root is not authorized to perform: {action} on this resource because the"
        " resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy"
        " explicitly denies access"
    )


REACHABLE = {
    "Enabled": "symmetric",
    "Disabled": "symmetric",
    "PendingDeletion": "symmetric",
    "PendingImport": "external",
}
"""The states that calls lead a key to, each with the sort of key (tests/aws_facts.py)."""


def _of_states() -> Iterator[Case]:
    """Yields the cells of AWS's published table of key states that a door can reach."""
    for name in ON_A_KEY:
        for state, sort in REACHABLE.items():
            error, text = answer_in(name, state, sort) or ("", "")
            made_before = name in MADE_BEFORE or (name == "ImportKeyMaterial" and not error)
            if not made_before:  # they have cases of their own
                yield Case(name, state, on(name, in_state(state)), error, text)


def _of_examples() -> Iterator[Case]:
    for name in OPERATIONS:
        if name in EXAMPLES:
            yield Case(name, "example", lambda w, name=name: w.example(name))


# --- keys, aliases, tags, lists ----------------------------------------------------------------------------------

TOO_MANY = [{"TagKey": f"t{n}", "TagValue": "v"} for n in range(51)]
TWICE = [{"TagKey": "t", "TagValue": "1"}, {"TagKey": "t", "TagValue": "2"}]
RESERVED = [{"TagKey": "AWS:t", "TagValue": "v"}]
PREFIX = ('Alias must start with the prefix "alias/". Please see'
          " https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html")  # fmt: skip


def _not_supported(member: str) -> str:
    return f"{member} is not supported yet: send the request without it."


MALFORMED = "MalformedPolicyDocumentException"
LOCKED_OUT = "The new key policy will not allow you to update the key policy in the future."
CLOSED_POLICY = OPEN_POLICY.replace("kms:*", "kms:DescribeKey")
"""Nobody may replace it. The key can be described, as other tests of the same server do with all keys."""

CREATING = [
    Case("CreateKey", "no members", lambda w: {}),
    Case("CreateKey", "all supported members", lambda w: {
        "Description": "d", "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT", "Origin": "AWS_KMS",
        "MultiRegion": False, "Tags": [{"TagKey": "team", "TagValue": "shop"}]}),
    Case("CreateKey", "external", lambda w: {"Origin": "EXTERNAL"}),
    Case("CreateKey", "the deprecated member", lambda w: {"CustomerMasterKeySpec": "SYMMETRIC_DEFAULT"}),
    Case("CreateKey", "both members", lambda w: {
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "KeySpec": "SYMMETRIC_DEFAULT"}, "ValidationException",
        "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is"
        " deprecated."),
    Case("CreateKey", "an impossible pair", lambda w: {"KeySpec": "RSA_2048", "KeyUsage": "KEY_AGREEMENT"},
         "ValidationException", "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048"),
    Case("CreateKey", "no usage", lambda w: {"KeySpec": "ECC_NIST_P256"}, "ValidationException",
         "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."),
    Case("CreateKey", "too many tags", lambda w: {"Tags": TOO_MANY}, "TagException", "Too many tags"),
    Case("CreateKey", "a tag twice", lambda w: {"Tags": TWICE}, "TagException", "Duplicate tag keys"),
    Case("CreateKey", "a reserved tag", lambda w: {"Tags": RESERVED}, "TagException",
         "Tags beginning with aws: are reserved"),
    Case("CreateKey", "a custom key store", lambda w: {"CustomKeyStoreId": "cks-1234"}, UNSUPPORTED,
         _not_supported("CustomKeyStoreId")),
    Case("CreateKey", "an external key store", lambda w: {"XksKeyId": "key"}, UNSUPPORTED, _not_supported("XksKeyId")),
    Case("CreateKey", "a policy", lambda w: {"Policy": OPEN_POLICY}),
    Case("CreateKey", "a malformed policy", lambda w: {"Policy": "{}"}, MALFORMED, "Missing required field Statement"),
    Case("CreateKey", "a policy that locks out", lambda w: {"Policy": CLOSED_POLICY}, MALFORMED, LOCKED_OUT),
    Case("PutKeyPolicy", "all members", lambda w: {
        "KeyId": w.key(), "PolicyName": "default", "Policy": CLOSED_POLICY, "BypassPolicyLockoutSafetyCheck": True}),
    Case("PutKeyPolicy", "a malformed policy", lambda w: {"KeyId": w.key(), "Policy": "{}"}, MALFORMED,
         "Missing required field Statement"),
    Case("PutKeyPolicy", "a policy that locks out", lambda w: {"KeyId": w.key(), "Policy": CLOSED_POLICY}, MALFORMED,
         LOCKED_OUT),
    Case("PutKeyPolicy", "a long policy", lambda w: {"KeyId": w.key(), "Policy": OPEN_POLICY + " " * 32768},
         "LimitExceededException", "The policy document is longer than 32768 bytes."),
    Case("PutKeyPolicy", "another name", lambda w: {
        "KeyId": w.key(), "PolicyName": "AWS_RAM", "Policy": OPEN_POLICY}, "ValidationException",
        "The AWS_RAM policy can only be managed by the RAM service."),
    Case("GetKeyPolicy", "another name", lambda w: {"KeyId": w.key(), "PolicyName": "AWS_RAM"}, "NotFoundException",
         "No such policy exists"),
    Case("CreateKey", "several regions", lambda w: {"MultiRegion": True}, UNSUPPORTED, _not_supported("MultiRegion")),
    Case("DescribeKey", "a deletion date", on("DescribeKey", in_state("PendingDeletion"))),
    Case("DescribeKey", "imported material", on("DescribeKey", lambda w: w.imported())),
    Case("DescribeKey", "by ARN", on("DescribeKey", lambda w: arn_of(w.key()))),
    Case("DescribeKey", "by alias", lambda w: {"KeyId": w.alias(w.key())}),
    Case("DescribeKey", "an AWS managed key", lambda w: {"KeyId": "alias/aws/s3"}),
    Case("DescribeKey", "no grant token", lambda w: {"KeyId": w.key(), "GrantTokens": ["t"]}, NO_TOKEN, TOKEN_TEXT),
    Case("DescribeKey", "a grant token", lambda w: {"KeyId": _granted(w), "GrantTokens": [w.facts["token"]]}),
]  # fmt: skip

MARKER = "The marker is not from this listing: send the NextMarker of its previous page unchanged."

LISTING = [
    Case("ListKeys", "a page of one", lambda w: {"Limit": 1} if w.key() else {}),
    Case("ListKeys", "a bad marker", lambda w: {"Marker": "x"}, "InvalidMarkerException", MARKER),
    Case("ListAliases", "a bad marker", lambda w: {"Marker": "x"}, "InvalidMarkerException", MARKER),
    Case("ListAliases", "of one key", on("ListAliases", lambda w: _with_aliases(w, 3))),
    Case("ListAliases", "a page of one", lambda w: {"KeyId": _with_aliases(w, 2), "Limit": 1}),
    Case("ListResourceTags", "two", on("ListResourceTags", lambda w: w.tagged("a", "b"))),
    Case("ListResourceTags", "a page of one", lambda w: {"KeyId": w.tagged("a", "b"), "Limit": 1}),
    Case("ListResourceTags", "a bad marker", lambda w: {"KeyId": w.key(), "Marker": "x"}, "InvalidMarkerException",
         MARKER),
    Case("ListKeyRotations", "rotated", on("ListKeyRotations", lambda w: w.rotated(2))),
    Case("ListKeyRotations", "a page of one", lambda w: {"KeyId": w.rotated(2), "Limit": 1}),
    Case("ListKeyRotations", "all material", lambda w: {
        "KeyId": w.rotated(), "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}),
    Case("ListKeyRotations", "imported material", lambda w: {
        "KeyId": w.imported(), "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}),
    Case("ListKeyRotations", "a bad marker", lambda w: {"KeyId": w.key(), "Marker": "x"}, "InvalidMarkerException",
         MARKER),
]  # fmt: skip


def _with_aliases(world: World, count: int) -> str:
    key_id = world.key()
    for _ in range(count):
        world.alias(key_id)
    return key_id


ALIASES = [
    Case("CreateAlias", "a name that is taken", lambda w: {"TargetKeyId": w.key(), "AliasName": w.alias(w.key())},
         "AlreadyExistsException", "An alias with the name arn:aws:kms:{region}:{account}:{alias} already exists"),
    Case("CreateAlias", "no prefix", lambda w: {"TargetKeyId": w.key(), "AliasName": "orders"}, "ValidationException",
         PREFIX),
    Case("CreateAlias", "reserved", lambda w: {"TargetKeyId": w.key(), "AliasName": "alias/aws/mine"},
         "NotAuthorizedException"),
    Case("CreateAlias", "no name", lambda w: {"TargetKeyId": w.key(), "AliasName": "alias/"},
         "ValidationException", "alias/ contains invalid characters for an alias"),
    Case("CreateAlias", "for an alias", lambda w: {"TargetKeyId": "alias/orders", "AliasName": w.name()},
         "ValidationException", "Aliases must refer to keys. Not aliases"),
    Case("CreateAlias", "one too many", lambda w: {"TargetKeyId": _with_aliases(w, 50), "AliasName": w.name()},
         "LimitExceededException", "{arn} has 50 aliases, which is the quota of a key."),
    Case("UpdateAlias", "one too many", lambda w: {"AliasName": w.alias(w.key()), "TargetKeyId": _with_aliases(w, 50)},
         "LimitExceededException", "{arn} has 50 aliases, which is the quota of a key."),
    Case("UpdateAlias", "to its own key", lambda w: {"TargetKeyId": w.key(), "AliasName": w.alias(w.facts["id"])}),
    Case("UpdateAlias", "by ARN", lambda w: {"AliasName": w.alias(w.key()), "TargetKeyId": arn_of(w.key())}),
    Case("UpdateAlias", "from a key that is pending deletion", lambda w: {
        "AliasName": _alias_of_pending_key(w), "TargetKeyId": w.key()}),
    Case("UpdateAlias", "unknown", lambda w: {"AliasName": "alias/none", "TargetKeyId": w.key()}, "NotFoundException",
         "Alias arn:aws:kms:{region}:{account}:alias/none is not found."),
    Case("UpdateAlias", "to an alias", lambda w: {"AliasName": w.alias(w.key()), "TargetKeyId": "alias/x"},
         "ValidationException", "Aliases must refer to keys. Not aliases"),
    Case("DeleteAlias", "existing", lambda w: {"AliasName": w.alias(w.key())}),
    Case("DeleteAlias", "of a key that is pending deletion", lambda w: {"AliasName": _alias_of_pending_key(w)}),
    Case("DeleteAlias", "unknown", lambda w: {"AliasName": "alias/none"}, "NotFoundException",
         "Alias arn:aws:kms:{region}:{account}:alias/none is not found."),
    Case("DeleteAlias", "no prefix", lambda w: {"AliasName": "orders"}, "ValidationException", PREFIX),
    Case("DeleteAlias", "reserved", lambda w: {"AliasName": "alias/aws/s3"}, "NotAuthorizedException"),
]  # fmt: skip


def _alias_of_pending_key(world: World) -> str:
    key_id = world.key()
    name = world.alias(key_id)
    world.call("ScheduleKeyDeletion", KeyId=key_id)
    return name


TAGGING = [
    Case("TagResource", "an empty value", lambda w: {"KeyId": w.key(), "Tags": [{"TagKey": "team", "TagValue": ""}]}),
    Case("UntagResource", "not there", lambda w: {"KeyId": w.key(), "TagKeys": ["team", "not there"]}),
    Case("TagResource", "a new value", lambda w: {"KeyId": w.tagged("a"), "Tags": [{"TagKey": "a", "TagValue": "2"}]}),
    Case("TagResource", "too many", lambda w: {"KeyId": w.key(), "Tags": TOO_MANY}, "TagException", "Too many tags"),
    Case("TagResource", "too many in all", lambda w: {
        "KeyId": w.tagged("a"), "Tags": TOO_MANY[:50]}, "TagException", "Too many tags"),
    Case("TagResource", "twice", lambda w: {"KeyId": w.key(), "Tags": TWICE}, "TagException", "Duplicate tag keys"),
    Case("TagResource", "reserved", lambda w: {"KeyId": w.key(), "Tags": RESERVED}, "TagException",
         "Tags beginning with aws: are reserved"),
    Case("UntagResource", "existing", lambda w: {"KeyId": w.tagged("a", "b"), "TagKeys": ["a"]}),
    Case("UntagResource", "reserved", lambda w: {"KeyId": w.key(), "TagKeys": ["aws:t"]}, "TagException",
         "Tags beginning with aws: are reserved"),
]  # fmt: skip

DELETION_AND_ROTATION = [
    Case("UpdateKeyDescription", "not ASCII", lambda w: {"KeyId": w.key(), "Description": "described anew, ünïcode"}),
    Case("ScheduleKeyDeletion", "without a window", lambda w: {"KeyId": w.key()}),
    Case("ScheduleKeyDeletion", "too soon", lambda w: {"KeyId": w.key(), "PendingWindowInDays": 6},
         "ValidationException", "1 validation error detected: Value '6' at 'pendingWindowInDays' failed to satisfy"
         " constraint: Member must have value greater than or equal to 7"),
    Case("EnableKeyRotation", "without a period", lambda w: {"KeyId": w.key()}),
    Case("GetKeyRotationStatus", "enabled", on("GetKeyRotationStatus", lambda w: _rotating(w))),
    Case("RotateKeyOnDemand", "the 26th time", on("RotateKeyOnDemand", lambda w: w.rotated(25)),
         "LimitExceededException", "The on-demand rotations limit has been reached for the given keyId. No more"
         " on-demand rotations can be performed for this key: {arn}"),
    Case("RotateKeyOnDemand", "no material pending rotation", on("RotateKeyOnDemand", lambda w: w.imported()),
         "KMSInvalidStateException", "No available key material pending rotation for the key: {arn}."),
]  # fmt: skip


def _rotating(world: World) -> str:
    key_id = world.key()
    world.call("EnableKeyRotation", KeyId=key_id, RotationPeriodInDays=2560)
    return key_id


# --- importing ---------------------------------------------------------------------------------------------------

IMPORTING = [
    Case("GetParametersForImport", "valid", on("GetParametersForImport", in_state("PendingImport"))),
    Case("GetParametersForImport", "RSAES_PKCS1_V1_5", lambda w: {
        "KeyId": w.key("PendingImport"), "WrappingAlgorithm": "RSAES_PKCS1_V1_5", "WrappingKeySpec": "RSA_2048"},
        UNSUPPORTED, "WrappingAlgorithm RSAES_PKCS1_V1_5 is not supported yet; supported: RSAES_OAEP_SHA_1,"
        " RSAES_OAEP_SHA_256, RSA_AES_KEY_WRAP_SHA_1, RSA_AES_KEY_WRAP_SHA_256."),
    Case("GetParametersForImport", "pending deletion", on("GetParametersForImport", lambda w: _external_pending_key(w)),
         "KMSInvalidStateException", PENDING_DELETION),
    Case("ImportKeyMaterial", "without expiry", lambda w: w.package(w.key("PendingImport"), **NEVER)),
    Case("ImportKeyMaterial", "for a year", lambda w: w.package(w.key("PendingImport"), ValidTo=in_days(364))),
    Case("ImportKeyMaterial", "no expiry date", lambda w: {
        "KeyId": w.key("PendingImport"), "ImportToken": b"t", "EncryptedKeyMaterial": b"m"}, "ValidationException",
        "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"),
    Case("ImportKeyMaterial", "the token of another key", lambda w: {
        **w.package(w.key("PendingImport"), **NEVER), "KeyId": w.key("PendingImport")}, "InvalidImportTokenException",
        "The import token is not for this key."),
    Case("ImportKeyMaterial", "invalid wrapped material", lambda w: {
        **w.package(w.key("PendingImport"), **NEVER), "EncryptedKeyMaterial": bytes(256)},
        "InvalidCiphertextException"),
    Case("ImportKeyMaterial", "other material", lambda w: w.package(w.imported(), **NEVER),
         "IncorrectKeyMaterialException", "The key material was never imported into {arn} before."),
    Case("ImportKeyMaterial", "new material", lambda w: w.package(
        w.imported(), **NEVER, ImportType="NEW_KEY_MATERIAL", KeyMaterialDescription="the second")),
    Case("ImportKeyMaterial", "pending deletion", on("ImportKeyMaterial", lambda w: _external_pending_key(w)),
         "KMSInvalidStateException", PENDING_DELETION),
    Case("DeleteImportedKeyMaterial", "existing", on("DeleteImportedKeyMaterial", lambda w: w.imported())),
    Case("DeleteImportedKeyMaterial", "missing", on("DeleteImportedKeyMaterial", in_state("PendingImport"))),
]  # fmt: skip


def _external_pending_key(world: World) -> str:
    key_id = world.key("PendingImport")
    world.call("ScheduleKeyDeletion", KeyId=key_id)
    return key_id


# --- cryptography ------------------------------------------------------------------------------------------------

SUCCEEDS = "The request would have succeeded, but the DryRun option is set."
INCORRECT = "The key ID in the request does not identify a CMK that can perform this operation."
UNREADABLE = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not"
    " allowed to access."
)


def _granted(world: World) -> str:
    key_id = world.key()
    world.grant(key_id)
    return key_id


SERVICE = {"GranteeServicePrincipal": "s3.amazonaws.com"}
SOURCE = {"Constraints": {"SourceArn": "arn:aws:s3:eu-central-1:111122223333:bucket"}}
RETIRER = {"RetiringPrincipal": ORDERS}
INVALID = "ValidationException"
ONE_GRANTEE = "You must specify either GranteePrincipal or GranteeServicePrincipal, but not both."
NO_SOURCE = "A grant with a GranteeServicePrincipal must have a SourceArn constraint."
NO_RETIRER = "A grant with a GranteeServicePrincipal must have a RetiringPrincipal or a RetiringServicePrincipal."
NO_PRINCIPAL = "ARN does not refer to a valid principal: "
UNKNOWN_GRANT = "5e" * 32
ID_TEXT = "The grant ID is not valid: it has 64 lower-case hexadecimal digits."
GONE = "The grant of this token was retired or revoked, or its key was deleted."


def _asked(**members: object) -> Prepare:
    """Prepares CreateGrant for a new key."""
    return lambda world: {"KeyId": world.key(), "Operations": ["Decrypt"]} | members


def _ended(operation: str, **members: object) -> Prepare:
    return lambda world: world.example(operation) | members


def _revoked(world: World) -> Members:
    """Prepares RetireGrant with the token of a grant that is gone."""
    world.call("RevokeGrant", **world.example("RevokeGrant"))
    return {"GrantToken": world.facts["token"]}


GRANTS = [
    Case("CreateGrant", "no grantee", _asked(), INVALID, ONE_GRANTEE),
    Case("CreateGrant", "two grantees", _asked(GranteePrincipal=ORDERS, **SERVICE), INVALID, ONE_GRANTEE),
    Case("CreateGrant", "a service without a source", _asked(**SERVICE, **RETIRER), INVALID, NO_SOURCE),
    Case("CreateGrant", "a service nobody retires", _asked(**SERVICE, **SOURCE), INVALID, NO_RETIRER),
    Case("CreateGrant", "a service", _asked(**SERVICE, **SOURCE, **RETIRER)),
    Case("CreateGrant", "a service retired by one", _asked(**SERVICE, **SOURCE,
                                                         RetiringServicePrincipal="ec2.amazonaws.com")),
    Case("CreateGrant", "two retiring principals", _asked(
        GranteePrincipal=ORDERS, **RETIRER, RetiringServicePrincipal="ec2.amazonaws.com"), INVALID,
        "You cannot specify both RetiringPrincipal and RetiringServicePrincipal."),
    Case("CreateGrant", "no ARN", _asked(GranteePrincipal="orders"), "InvalidArnException", NO_PRINCIPAL + "orders"),
    Case("CreateGrant", "a group", _asked(GranteePrincipal="arn:aws:iam::111122223333:group/g"), "InvalidArnException",
         NO_PRINCIPAL + "arn:aws:iam::111122223333:group/g"),
    Case("CreateGrant", "a partition", _asked(GranteePrincipal="arn:aws-cn:iam::111122223333:root"),
         "InvalidArnException", NO_PRINCIPAL + "arn:aws-cn:iam::111122223333:root"),
    Case("CreateGrant", "an empty constraint", _asked(GranteePrincipal=ORDERS, Constraints={
        "EncryptionContextEquals": {}}), INVALID, "Constraints must have a constraint that is not empty."),
    Case("CreateGrant", "no such use", _asked(GranteePrincipal=ORDERS, Operations=["Decrypt", "Sign"]), INVALID,
         "A grant on {arn}, whose key spec is SYMMETRIC_DEFAULT and key usage ENCRYPT_DECRYPT, cannot allow Sign."),
    Case("CreateGrant", "all members", _asked(
        GranteePrincipal=ORDERS, Name="n", **RETIRER, Operations=["Encrypt", "RetireGrant"],
        Constraints={"EncryptionContextSubset": {"a": "b"}, "EncryptionContextEquals": {"a": "b"}})),
    Case("ListGrants", "one", lambda w: {"KeyId": _granted(w)}),
    Case("ListGrants", "of a grantee", lambda w: {"KeyId": _granted(w), "GranteePrincipal": ORDERS}),
    Case("ListGrants", "of an id", lambda w: {"KeyId": _granted(w), "GrantId": w.facts["grant"]}),
    Case("ListGrants", "of an unknown id", lambda w: {"KeyId": _granted(w), "GrantId": UNKNOWN_GRANT}),
    Case("ListGrants", "no id", lambda w: {"KeyId": w.key(), "GrantId": "x"}, "InvalidGrantIdException", ID_TEXT),
    Case("ListGrants", "a bad marker", lambda w: {"KeyId": w.key(), "Marker": "x"}, "InvalidMarkerException", MARKER),
    Case("ListRetirableGrants", "of the account", lambda w: {
        "RetiringPrincipal": f"arn:aws:iam::{w.facts['account']}:role/none"}),
    Case("ListRetirableGrants", "a bad marker", _ended("ListRetirableGrants", Marker="x"), "InvalidMarkerException",
         MARKER),
    Case("ListRetirableGrants", "of nobody", lambda w: {}, INVALID,
         "You must specify either RetiringPrincipal or RetiringServicePrincipal, but not both."),
    Case("ListRetirableGrants", "no ARN", lambda w: {"RetiringPrincipal": "orders"}, "InvalidArnException",
         NO_PRINCIPAL + "orders"),
    Case("RetireGrant", "by token", lambda w: {"GrantToken": w.facts["token"]} if _granted(w) else {}),
    Case("RetireGrant", "no token", lambda w: {"GrantToken": "t"}, NO_TOKEN, TOKEN_TEXT),
    Case("RetireGrant", "a token of one that is gone", _revoked, NO_TOKEN, GONE),
    Case("RetireGrant", "token and id", lambda w: w.example("RetireGrant") | {"GrantToken": "t"}, INVALID,
         "You must specify either GrantToken, or KeyId and GrantId together."),
    Case("RetireGrant", "no id", _ended("RetireGrant", GrantId="x"), "InvalidGrantIdException", ID_TEXT),
    Case("RetireGrant", "an unknown id", _ended("RetireGrant", GrantId=UNKNOWN_GRANT), "NotFoundException",
         f"Grant ID {UNKNOWN_GRANT} not found"),
    Case("RevokeGrant", "no id", _ended("RevokeGrant", GrantId="x"), "InvalidGrantIdException", ID_TEXT),
    Case("RevokeGrant", "an unknown id", _ended("RevokeGrant", GrantId=UNKNOWN_GRANT), "NotFoundException",
         f"Grant ID {UNKNOWN_GRANT} not found"),
]  # fmt: skip


def _used(operation: str, **more: object) -> Prepare:
    return lambda world: on(operation, in_state("Enabled"))(world) | more


def _of_use() -> Iterator[Case]:
    for name in [name for name in OPERATIONS if "DryRun" in members_of(name)]:
        base = _used(name) if name not in MADE_BEFORE else (lambda w, name=name: w.example(name))
        more = lambda w, base=base, **members: base(w) | members  # noqa: E731 - a short name for the rows below
        yield Case(name, "valid", base)
        yield Case(name, "dry run", lambda w, more=more: more(w, DryRun=True), "DryRunOperationException", SUCCEEDS)
        if "GrantTokens" in members_of(name):
            yield Case(name, "no grant token", lambda w, more=more: more(w, GrantTokens=["t"]), NO_TOKEN, TOKEN_TEXT)
    for state, error, text in (
        ("Disabled", "DisabledException", DISABLED),
        ("PendingDeletion", "KMSInvalidStateException", PENDING_DELETION),
        ("PendingImport", "KMSInvalidStateException", PENDING_IMPORT),
    ):
        yield Case("Decrypt", state, lambda w, state=state: w.blob_in_state(state), error, text)


RECIPIENT = {"Recipient": {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b"d"}}
CRYPTOGRAPHY = [
    Case("Decrypt", "a recipient", lambda w: {"CiphertextBlob": b"c", **RECIPIENT}, UNSUPPORTED,
         _not_supported("Recipient")),
    Case("GenerateDataKey", "a recipient", lambda w: {"KeyId": UNKNOWN, "KeySpec": "AES_256", **RECIPIENT},
         UNSUPPORTED, _not_supported("Recipient")),
    Case("GenerateRandom", "a recipient", lambda w: {"NumberOfBytes": 1, **RECIPIENT}, UNSUPPORTED,
         _not_supported("Recipient")),
    Case("Encrypt", "a context", _used("Encrypt", EncryptionContext=CONTEXT, EncryptionAlgorithm="SYMMETRIC_DEFAULT")),
    Case("Encrypt", "by alias", lambda w: {"KeyId": w.alias(w.key()), "Plaintext": bytes(4096)}),
    Case("Encrypt", "a plaintext over the limit", lambda w: {"KeyId": w.key(), "Plaintext": bytes(4097)},
         "ValidationException",
         "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less"
         " than or equal to 4096"),
    Case("Encrypt", "another algorithm", _used("Encrypt", EncryptionAlgorithm="RSAES_OAEP_SHA_256"), UNSUPPORTED,
         "EncryptionAlgorithm RSAES_OAEP_SHA_256 is not supported yet; supported: SYMMETRIC_DEFAULT."),
    Case("Decrypt", "a context", lambda w: {
        "CiphertextBlob": w.blob(w.key(), EncryptionContext=CONTEXT), "EncryptionContext": CONTEXT,
        "KeyId": w.facts["arn"]}),
    Case("Decrypt", "no context", lambda w: {"CiphertextBlob": w.blob(w.key(), EncryptionContext=CONTEXT)},
         "InvalidCiphertextException"),
    Case("Decrypt", "an additional context", lambda w: {
        "CiphertextBlob": w.blob(w.key()), "EncryptionContext": {"a": "b"}}, "InvalidCiphertextException"),
    Case("Decrypt", "the same context split differently", lambda w: {
        "CiphertextBlob": w.blob(w.key(), EncryptionContext={"a": "bc"}), "EncryptionContext": {"ab": "c"}},
        "InvalidCiphertextException"),
    Case("Decrypt", "the last bit flipped", lambda w: {"CiphertextBlob": flipped(w.blob(w.key()))},
         "InvalidCiphertextException"),
    Case("Decrypt", "the first bit flipped", lambda w: {"CiphertextBlob": flipped(w.blob(w.key()), 0)},
         "InvalidCiphertextException"),
    Case("Decrypt", "cut short", lambda w: {"CiphertextBlob": w.blob(w.key())[:-1]}, "InvalidCiphertextException"),
    Case("Decrypt", "random bytes", lambda w: {"CiphertextBlob": os.urandom(200)}, "InvalidCiphertextException"),
    Case("Decrypt", "another key", lambda w: {"CiphertextBlob": w.blob(w.key()), "KeyId": w.key()},
         "IncorrectKeyException", INCORRECT),
    Case("Decrypt", "no blob", lambda w: {"KeyId": w.key()}, "ValidationException",
         "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must not be"
         " null"),
    Case("Decrypt", "dry run without a blob", lambda w: {
        "KeyId": w.key(), "DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}, UNSUPPORTED,
        _not_supported("DryRunModifiers")),
    Case("Decrypt", "a ciphertext from before a rotation", lambda w: {"CiphertextBlob": _rotated_blob(w)}),
    Case("Decrypt", "a data key", lambda w: {"CiphertextBlob": w.call(
        "GenerateDataKeyWithoutPlaintext", KeyId=w.key(), KeySpec="AES_256")["CiphertextBlob"]}),
    Case("ReEncrypt", "contexts", lambda w: {
        "CiphertextBlob": w.blob(w.key(), EncryptionContext=CONTEXT), "SourceKeyId": w.facts["arn"],
        "SourceEncryptionContext": CONTEXT, "DestinationKeyId": w.key(), "DestinationEncryptionContext": {"b": ""}}),
    Case("ReEncrypt", "the same key", lambda w: {
        "CiphertextBlob": w.blob(w.key()), "DestinationKeyId": w.facts["id"]}),
    Case("ReEncrypt", "the wrong source key", lambda w: {
        "CiphertextBlob": w.blob(w.key()), "SourceKeyId": w.key(), "DestinationKeyId": w.key()},
        "IncorrectKeyException", INCORRECT),
    Case("ReEncrypt", "a flipped bit", lambda w: {
        "CiphertextBlob": flipped(w.blob(w.key())), "DestinationKeyId": w.key()}, "InvalidCiphertextException"),
    Case("ReEncrypt", "a disabled source", lambda w: {
        "DestinationKeyId": w.key(), **w.blob_in_state("Disabled")}, "DisabledException", DISABLED),
    Case("GenerateDataKey", "both lengths", _used("GenerateDataKey", KeySpec="AES_256"), "ValidationException",
         "Please specify either number of bytes or key spec."),
    Case("GenerateDataKey", "no length", lambda w: {"KeyId": w.key()}, "ValidationException",
         "Please specify either number of bytes or key spec."),
    Case("GenerateDataKey", "AES-128", lambda w: {
        "KeyId": w.key(), "KeySpec": "AES_128", "EncryptionContext": CONTEXT}),
    Case("GenerateDataKey", "1,024 bytes", lambda w: {"KeyId": w.key(), "NumberOfBytes": 1024}),
    Case("GenerateDataKey", "AES-256", lambda w: {"KeyId": w.key(), "KeySpec": "AES_256"}),
    Case("GenerateDataKeyWithoutPlaintext", "one byte", lambda w: {"KeyId": w.key(), "NumberOfBytes": 1}),
    Case("GenerateDataKeyWithoutPlaintext", "no length", lambda w: {"KeyId": w.key()}, "ValidationException",
         "Please specify either number of bytes or key spec."),
    Case("GenerateRandom", "valid", lambda w: {"NumberOfBytes": 1024}),
    Case("GenerateRandom", "no number", lambda w: {}, "ValidationException", "NumberOfBytes is required."),
    Case("GenerateRandom", "zero bytes", lambda w: {"NumberOfBytes": 0}, "ValidationException",
         "1 validation error detected: Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have"
         " value greater than or equal to 1"),
    Case("GenerateRandom", "a key store", lambda w: {"NumberOfBytes": 1, "CustomKeyStoreId": "cks-1"}, UNSUPPORTED,
         _not_supported("CustomKeyStoreId")),
]  # fmt: skip


def _rotated_blob(world: World) -> bytes:
    blob = world.blob(world.key())
    world.call("RotateKeyOnDemand", KeyId=world.facts["id"])
    return blob


CASES: list[Case] = [
    *_of_names(), *_of_states(), *_of_examples(), *CREATING, *LISTING, *ALIASES, *TAGGING, *DELETION_AND_ROTATION,
    *IMPORTING, *GRANTS, *_of_use(), *CRYPTOGRAPHY,
]  # fmt: skip
