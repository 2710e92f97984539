"""A KMS key, its materials and aliases, as the registry holds them: plain, frozen, without secrets.

Times are nanoseconds since 1970. Enumerations carry AWS's spelling, so that rows, audit records and doors agree on it.
Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_KeyMetadata.html
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kms_grpc.model.key_spec import SYMMETRIC_DEFAULT


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


class MaterialState(StrEnum):
    """What a key material is for. The first two are permanent: their key is usable only while all of them are there."""

    CURRENT = "CURRENT"
    NON_CURRENT = "NON_CURRENT"
    PENDING_ROTATION = "PENDING_ROTATION"
    PENDING_MULTI_REGION_IMPORT_AND_ROTATION = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"

    @property
    def is_permanent(self) -> bool:
        """Whether the key's ciphertexts may need it."""
        return self in (MaterialState.CURRENT, MaterialState.NON_CURRENT)


class RotationType(StrEnum):
    """What began a rotation."""

    AUTOMATIC = "AUTOMATIC"
    ON_DEMAND = "ON_DEMAND"


class ExpirationModel(StrEnum):
    """Whether imported key material expires."""

    EXPIRES = "KEY_MATERIAL_EXPIRES"
    DOES_NOT_EXPIRE = "KEY_MATERIAL_DOES_NOT_EXPIRE"


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
    service: str | None = None
    """The service principal that an AWS managed key belongs to, `s3.amazonaws.com`."""
    multi_region: bool = False
    suites: tuple[int, ...] = (SUITE_KC_XAES_256_GCM,)
    """Which blob suites this key opens: a header cannot choose a weaker one."""
    deletion_ns: int | None = None
    """When its window is over. In state PendingDeletion only."""
    rotation_period_days: int | None = None
    """Days between two automatic rotations; None where they are off. Kept while the key is pending deletion."""
    next_rotation_ns: int | None = None
    """When automatic rotation is due. There where rotation_period_days is."""
    on_demand_rotations: int = 0
    """How many there were in the key's life."""
    material_missing: bool = False
    """An external key that waits for its first material, or that has lost one of its permanent ones."""
    expires_ns: int | None = None
    """The earliest expiry of the permanent materials that are there: from then on the key is PendingImport, whether or
    not its row says so already (key_state.as_of)."""
    pending_material_id: bytes | None = None
    """The imported material that waits for RotateKeyOnDemand."""
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
    """32 bytes, which follow from key id and material: what is imported again is known by them."""
    wrapped: bytes | None
    """None where imported material was deleted or expired: its row stays, for the same bytes to come back to."""
    created_ns: int
    origin: Origin = Origin.AWS_KMS
    state: MaterialState = MaterialState.CURRENT
    expires_ns: int | None = None
    """When it is deleted by itself; None for never, and for what is not there."""
    description: str = ""
    number: int = 0
    """Its place among the key's materials, in the order of rotation; 0 is the first. Given by the registry."""
    rotated_ns: int | None = None
    """When it became the current one; None for the first, and while it waits."""
    rotation_type: RotationType | None = None
    """There where rotated_ns is."""
    revision: int = 1

    @property
    def expiration_model(self) -> ExpirationModel | None:
        """None for what is not imported, or not there."""
        if self.origin is not Origin.EXTERNAL or self.wrapped is None:
            return None
        return ExpirationModel.DOES_NOT_EXPIRE if self.expires_ns is None else ExpirationModel.EXPIRES

    def has_expired(self, time_ns: int) -> bool:
        """Whether it is over at that time, swept away or not."""
        return self.expires_ns is not None and time_ns >= self.expires_ns


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of a key: tag key 1 to 128 characters, value 0 to 256."""

    key_id: str
    account: str
    tag_key: str
    tag_value: str


@dataclass(frozen=True, slots=True)
class ImportPair:
    """A pair of RSA keys for wrapping material that is to be imported. It lies ready until GetParametersForImport gives
    it to a key; it is removed when it was used, has failed too often, or has expired."""

    pair_id: bytes
    """16 bytes."""
    spec: str
    """RSA_2048, RSA_3072 or RSA_4096."""
    public_key: bytes
    """SubjectPublicKeyInfo in DER."""
    wrapped: bytes
    """The private key, wrapped under a key that AWS owns."""
    created_ns: int
    key_id: str | None = None
    account: str | None = None
    algorithm: str | None = None
    """AWS's spelling of the wrapping algorithm that was asked for."""
    expires_ns: int | None = None
    failures: int = 0
    """Imports whose material did not unwrap."""
    revision: int = 1


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
