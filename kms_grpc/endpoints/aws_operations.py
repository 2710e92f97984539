"""The names of all operations of AWS KMS.

Both doors refuse an unbuilt one with UnsupportedOperationException, and any other name with UnknownOperationException.
"""

from __future__ import annotations

import re
from typing import Final

from kms_grpc.errors import KMSError, UnknownOperationException, UnsupportedOperationException
from kms_grpc.operations.operation import Unserved

PREFIX: Final = "TrentService."
"""The beginning of `X-Amz-Target`, before the operation's name."""
NAME_LENGTH: Final = 64
"""Most characters of an unknown name in the audit log and in errors."""
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_./-]")
AWS_OPERATIONS: Final = frozenset(
    (
        "CancelKeyDeletion", "ConnectCustomKeyStore", "CreateAlias", "CreateCustomKeyStore", "CreateGrant",
        "CreateKey", "Decapsulate", "Decrypt", "DeleteAlias", "DeleteCustomKeyStore",
        "DeleteImportedKeyMaterial", "DeriveSharedSecret", "DescribeCustomKeyStores", "DescribeKey",
        "DisableKey", "DisableKeyRotation", "DisconnectCustomKeyStore", "EnableKey", "EnableKeyRotation",
        "Encapsulate", "Encrypt", "GenerateDataKey", "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext", "GenerateDataKeyWithoutPlaintext", "GenerateMac",
        "GenerateRandom", "GetKeyLastUsage", "GetKeyPolicy", "GetKeyRotationStatus", "GetParametersForImport",
        "GetPublicKey", "ImportKeyMaterial", "ListAliases", "ListGrants", "ListKeyPolicies", "ListKeyRotations",
        "ListKeys", "ListResourceTags", "ListRetirableGrants", "PutKeyPolicy", "ReEncrypt", "ReplicateKey",
        "RetireGrant", "RevokeGrant", "RotateKeyOnDemand", "ScheduleKeyDeletion", "Sign", "TagResource",
        "UntagResource", "UpdateAlias", "UpdateCustomKeyStore", "UpdateKeyDescription", "UpdatePrimaryRegion",
        "Verify", "VerifyMac",
    )
)  # fmt: skip
"""Source: botocore's service model of KMS, version 2014-11-01, including later additions."""


CHANGING: Final = frozenset(
    (
        "ConnectCustomKeyStore", "CreateCustomKeyStore", "CreateGrant", "DeleteCustomKeyStore",
        "DisconnectCustomKeyStore", "PutKeyPolicy", "ReplicateKey", "RetireGrant", "RevokeGrant",
        "UpdateCustomKeyStore", "UpdatePrimaryRegion",
    )
)  # fmt: skip
"""The unbuilt operations whose `readOnly` is false in CloudTrail; for the other unbuilt ones it is true."""


class NotBuilt(UnsupportedOperationException):
    """UnsupportedOperationException for a whole operation. Its gRPC status is that of a method that a server lacks."""

    status = "UNIMPLEMENTED"

    @property
    def code(self) -> str:
        return UnsupportedOperationException.__name__


def unserved(name: str, called: str) -> Unserved:
    """Returns the operation of AWS KMS with this name, which has no row in the table. If AWS KMS has none, its name is
    that of the call: the first NAME_LENGTH characters of `called`, with ? for those that no name has."""
    if name in AWS_OPERATIONS:
        return Unserved(name, name not in CHANGING, in_aws=True)
    return Unserved(_NOT_IN_NAMES.sub("?", called[:NAME_LENGTH]), read_only=False, in_aws=False)


def unserved_target(target: bytes) -> Unserved:
    """Returns the operation that an `X-Amz-Target` names, which has no row in the table. Raises
    UnknownOperationException if it names none."""
    called = target.decode("ascii", "replace")
    if not called:
        raise UnknownOperationException(f"X-Amz-Target must be {PREFIX}<Operation>, with an operation of AWS KMS.")
    if not called.startswith(PREFIX) or called == PREFIX:
        return unserved("", called)
    name = called.removeprefix(PREFIX)
    return unserved(name, name)


def not_served(operation: Unserved) -> KMSError:
    """Returns the error for a call of an operation that has no row."""
    if operation.in_aws:
        return NotBuilt(f"{operation.name} is not supported yet.")
    return UnknownOperationException(
        f"There is no operation {operation.name}; this server may have an older version of the API."
    )
