"""A KMS key, its materials and aliases, as the registry holds them: plain, frozen, without secrets.

Times are nanoseconds since 1970. Enumerations carry AWS's spelling, so that rows, audit records and doors agree on it.
Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_KeyMetadata.html
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class KeyState(StrEnum):
    """What may be done with a key; key_state.py has the rules."""

    CREATING = "Creating"
    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_IMPORT = "PendingImport"
    PENDING_DELETION = "PendingDeletion"
    PENDING_REPLICA_DELETION = "PendingReplicaDeletion"
    UNAVAILABLE = "Unavailable"
    UPDATING = "Updating"


class KeyUsage(StrEnum):
    """What a key is for; fixed when it is created."""

    ENCRYPT_DECRYPT = "ENCRYPT_DECRYPT"
    SIGN_VERIFY = "SIGN_VERIFY"
    GENERATE_VERIFY_MAC = "GENERATE_VERIFY_MAC"
    KEY_AGREEMENT = "KEY_AGREEMENT"


class Origin(StrEnum):
    """Where key material comes from; fixed when the key is created."""

    AWS_KMS = "AWS_KMS"
    EXTERNAL = "EXTERNAL"
    AWS_CLOUDHSM = "AWS_CLOUDHSM"
    EXTERNAL_KEY_STORE = "EXTERNAL_KEY_STORE"


class KeyKind(StrEnum):
    """Who looks after a key. The first two are KeyMetadata.KeyManager; keys that AWS owns are never shown."""

    CUSTOMER_MANAGED = "CUSTOMER"
    AWS_MANAGED = "AWS"
    AWS_OWNED = "OWNED"


SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
SUITE_KC_XAES_256_GCM = 1


@dataclass(frozen=True, slots=True)
class Key:
    """One row of the registry's table of keys."""

    key_id: str
    arn: str
    account: str
    region: str
    state: KeyState
    description: str
    created_ns: int
    current_material_id: bytes | None
    """32 bytes; None before the first import of an external key."""
    usage: KeyUsage = KeyUsage.ENCRYPT_DECRYPT
    spec: str = SYMMETRIC_DEFAULT
    origin: Origin = Origin.AWS_KMS
    kind: KeyKind = KeyKind.CUSTOMER_MANAGED
    multi_region: bool = False
    suites: tuple[int, ...] = (SUITE_KC_XAES_256_GCM,)
    """Which blob suites this key opens: a header cannot choose a weaker one."""
    deletion_ns: int | None = None
    revision: int = 1
    """Counts the writes to this row; a write names the one it saw (compare and set)."""
    sequence: int = 0
    """The order of creation in its shard, given by the registry; listings walk along it."""


@dataclass(frozen=True, slots=True)
class Material:
    """One key material of a key, wrapped under its region's key."""

    key_id: str
    account: str
    material_id: bytes
    wrapped: bytes
    created_ns: int
    origin: Origin = Origin.AWS_KMS
    state: str = "CURRENT"
    expires_ns: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Alias:
    """A name of a key; `name` includes the prefix `alias/`."""

    account: str
    name: str
    arn: str
    target_key_id: str
    created_ns: int
    updated_ns: int
    revision: int = 1
    sequence: int = 0
