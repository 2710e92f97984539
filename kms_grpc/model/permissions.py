"""The permissions that policies allow and deny: all of AWS KMS, and those of the service's own rpcs.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/kms-api-permissions-reference.html
"""

from __future__ import annotations

from typing import Final

GRANT_OPERATIONS: Final = (
    "Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
    "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "GenerateMac", "VerifyMac", "Sign", "Verify",
    "DeriveSharedSecret", "Encapsulate", "Decapsulate", "DescribeKey", "GetPublicKey", "CreateGrant", "RetireGrant",
)  # fmt: skip
"""The operations that a grant can give, as kms:GrantOperations has them."""
OF_KEYS: Final = (
    *GRANT_OPERATIONS,
    "CancelKeyDeletion", "CreateAlias", "DeleteAlias", "DeleteImportedKeyMaterial", "DisableKey", "DisableKeyRotation",
    "EnableKey", "EnableKeyRotation", "GetKeyLastUsage", "GetKeyPolicy", "GetKeyRotationStatus",
    "GetParametersForImport", "ImportKeyMaterial", "ListGrants", "ListKeyPolicies", "ListKeyRotations",
    "ListResourceTags", "PutKeyPolicy", "ReplicateKey", "RevokeGrant", "RotateKeyOnDemand", "ScheduleKeyDeletion",
    "TagResource", "UntagResource", "UpdateAlias", "UpdateKeyDescription", "UpdatePrimaryRegion",
    "SynchronizeMultiRegionKey",
)  # fmt: skip
"""Permissions that a key policy decides on."""
OTHERS: Final = (
    "ConnectCustomKeyStore", "CreateCustomKeyStore", "CreateKey", "DeleteCustomKeyStore", "DescribeCustomKeyStores",
    "DisconnectCustomKeyStore", "GenerateRandom", "ListAliases", "ListKeys", "ListRetirableGrants",
    "UpdateCustomKeyStore",
)  # fmt: skip
"""Permissions without a key."""
ACTIONS: Final = (*(f"kms:{name}" for name in (*OF_KEYS, *OTHERS)), "kms-grpc:ExplainDecision")
"""All actions that a statement may be about."""
