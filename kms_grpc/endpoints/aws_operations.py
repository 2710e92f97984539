"""The names of all operations of AWS KMS. Both doors refuse an unbuilt one with UnsupportedOperationException."""

from __future__ import annotations

from typing import Final

from kms_grpc.errors import KMSError, UnknownOperationException, UnsupportedOperationException
from kms_grpc.operations.operation import Unbuilt

PREFIX: Final = "TrentService."
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


def not_built(operation: Unbuilt) -> KMSError:
    """Returns the error for a call of an operation that is not built."""
    return NotBuilt(f"{operation.name} is not supported yet.")


def unbuilt(name: str) -> Unbuilt | None:
    """Returns the operation of AWS KMS with this name, which has no row in the table; None if AWS KMS has no such
    operation."""
    return Unbuilt(name, name not in CHANGING) if name in AWS_OPERATIONS else None


def unbuilt_target(target: bytes) -> Unbuilt:
    """Returns the operation that an `X-Amz-Target` names, which has no row in the table. Raises
    Raises UnknownOperationException if AWS KMS has none of that name."""
    name = target.decode("ascii", "replace")
    operation = unbuilt(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    if operation is None:
        raise UnknownOperationException(f"X-Amz-Target must be {PREFIX}<Operation>, with an operation of AWS KMS.")
    return operation


def unknown_rpc(path: str) -> KMSError:
    """Returns the error for the path of a gRPC method that neither AWS KMS nor this version has."""
    return UnknownOperationException(f"There is no method {path}; this server may have an older version of the API.")
