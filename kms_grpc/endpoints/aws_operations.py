"""The names of all operations of AWS KMS, and the refusal of calls that this version does not serve.

Both doors refuse an operation that is not built with UnsupportedOperationException, and a name that AWS KMS does not
have with UnknownOperationException.
"""

from __future__ import annotations

import re
from typing import Final

from kms_grpc.errors import KMSError, UnknownOperationException, UnsupportedOperationException
from kms_grpc.operations.operation import NOT_BUILT, UNKNOWN, Unserved

PREFIX: Final = "TrentService."
NO_TARGET: Final = f"X-Amz-Target must be {PREFIX}<Operation>, with an operation of AWS KMS."
NAME_LENGTH: Final = 64
"""Most characters of an unknown name in an audit record."""
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
        "DisconnectCustomKeyStore", "ReplicateKey", "RetireGrant", "RevokeGrant",
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


def unserved(name: str) -> Unserved:
    """Returns the operation of a call that no row of the table serves."""
    if name in AWS_OPERATIONS:
        return Unserved(name, name not in CHANGING, NOT_BUILT)
    return unknown(name)


def unknown(name: str) -> Unserved:
    """Returns the operation of a call by a name that AWS KMS does not have: the beginning of that name, with ? for
    characters that no name has."""
    return Unserved(_NOT_IN_NAMES.sub("?", name[:NAME_LENGTH]), True, UNKNOWN)


def refusal(operation: Unserved, text: str) -> KMSError:
    """Returns the error for a call that is not served. `text` is for names that AWS KMS does not have."""
    if operation.counted == NOT_BUILT:
        return NotBuilt(f"{operation.name} is not supported yet.")
    return UnknownOperationException(text)


def unserved_target(target: bytes) -> Unserved:
    """Returns the operation that an `X-Amz-Target` names, which has no row in the table. Raises
    UnknownOperationException if it names none."""
    name = target.decode("ascii", "replace")
    if not name:
        raise UnknownOperationException(NO_TARGET)
    return unserved(name.removeprefix(PREFIX)) if name.startswith(PREFIX) and name != PREFIX else unknown(name)
