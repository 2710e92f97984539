"""The names of all operations of AWS KMS. One that is not served yet answers with UnsupportedOperationException."""

from __future__ import annotations

from typing import Final

from kms_grpc.errors import KMSError, UnknownOperationException, UnsupportedOperationException

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


def unknown_operation(target: bytes) -> KMSError:
    """Returns the error for an `X-Amz-Target` that has no row in the table."""
    name = target.decode("ascii", "replace").removeprefix(PREFIX)
    if target.startswith(PREFIX.encode()) and name in AWS_OPERATIONS:
        return UnsupportedOperationException(f"{name} is not supported yet.")
    return UnknownOperationException(f"X-Amz-Target must be {PREFIX}<Operation>, with an operation of AWS KMS.")
