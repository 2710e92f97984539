"""Keys, key materials, tags, aliases and import pairs as the registry stores them, without plaintext secrets.

Times are nanoseconds since 1970. Enumerations have AWS's spelling.
Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_KeyMetadata.html
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kms_grpc.model.key_spec import SYMMETRIC_DEFAULT


class KeyState(StrEnum):
    """The state of a key. key_state.py says which operations each state allows."""

    CREATING = "Creating"
    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_IMPORT = "PendingImport"
    PENDING_DELETION = "PendingDeletion"
    PENDING_REPLICA_DELETION = "PendingReplicaDeletion"
    UNAVAILABLE = "Unavailable"
    UPDATING = "Updating"


class KeyUsage(StrEnum):
    """The operations that a key is for; fixed when the key is created."""

    ENCRYPT_DECRYPT = "ENCRYPT_DECRYPT"
    SIGN_VERIFY = "SIGN_VERIFY"
    GENERATE_VERIFY_MAC = "GENERATE_VERIFY_MAC"
    KEY_AGREEMENT = "KEY_AGREEMENT"


class Origin(StrEnum):
    """The source of key material; fixed when the key is created."""

    AWS_KMS = "AWS_KMS"
    EXTERNAL = "EXTERNAL"
    AWS_CLOUDHSM = "AWS_CLOUDHSM"
    EXTERNAL_KEY_STORE = "EXTERNAL_KEY_STORE"


class KeyKind(StrEnum):
    """The owner of a key's lifecycle. CUSTOMER and AWS are values of KeyMetadata.KeyManager; AWS owned keys are shown
    to nobody."""

    CUSTOMER_MANAGED = "CUSTOMER"
    AWS_MANAGED = "AWS"
    AWS_OWNED = "OWNED"


class MaterialState(StrEnum):
    """The role of a key material. CURRENT and NON_CURRENT are permanent: a key is usable only while it has all of its
    permanent materials."""

    CURRENT = "CURRENT"
    NON_CURRENT = "NON_CURRENT"
    PENDING_ROTATION = "PENDING_ROTATION"
    PENDING_MULTI_REGION_IMPORT_AND_ROTATION = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"

    @property
    def is_permanent(self) -> bool:
        """True if ciphertexts of the key may need the material."""
        return self in (MaterialState.CURRENT, MaterialState.NON_CURRENT)


class RotationType(StrEnum):
    """The cause of a rotation."""

    AUTOMATIC = "AUTOMATIC"
    ON_DEMAND = "ON_DEMAND"


class ExpirationModel(StrEnum):
    """KeyMetadata.ExpirationModel: says whether imported key material expires."""

    EXPIRES = "KEY_MATERIAL_EXPIRES"
    DOES_NOT_EXPIRE = "KEY_MATERIAL_DOES_NOT_EXPIRE"


SUITE_KC_XAES_256_GCM: Final = 1

ON_DEMAND_ROTATIONS_LIMIT: Final = 25
"""On-demand rotations that a key may have in all."""
MATERIALS_LIMIT: Final = 1_000
"""More materials than a key with imported material can have: the first, one for each on-demand rotation, and one that
waits for a rotation. (Keys that rotate automatically may have more.)"""
IMPORT_VALID_HOURS: Final = 24
"""How long the public key and the token of GetParametersForImport are valid."""


@dataclass(frozen=True, slots=True)
class Key:
    """A KMS key."""

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
    """The cipher suites that this key decrypts, so that the header of a blob cannot choose a weaker one."""
    deletion_ns: int | None = None
    """The end of the waiting period. In state PendingDeletion only."""
    rotation_period_days: int | None = None
    """Days between two automatic rotations; None if they are off. Kept while the key is pending deletion."""
    next_rotation_ns: int | None = None
    """The date of the next automatic rotation. Set if rotation_period_days is."""
    on_demand_rotations: int = 0
    """How many on-demand rotations the key has had."""
    material_missing: bool = False
    """True if an external key waits for its first material, or has lost one of its permanent materials."""
    expires_ns: int | None = None
    """The earliest expiry of the permanent materials that are present. From then on the key is PendingImport, even if
    its row does not say so yet (key_transitions.as_of)."""
    pending_material_id: bytes | None = None
    """The id of the imported material that waits for RotateKeyOnDemand."""
    policy_digest: bytes | None = None
    """SHA-256 of the text of the key's policy; None for a key with the default policy, and for an AWS managed key."""
    revision: int = 1
    """Counts the writes to this row. A write names the revision that it has read (compare-and-set)."""
    sequence: int = 0
    """The position in the order of creation in its shard, assigned by the registry; listings are sorted by it."""


@dataclass(frozen=True, slots=True)
class Material:
    """One key material of a key, wrapped under its region's key."""

    key_id: str
    account: str
    material_id: bytes
    """32 bytes, derived from key id and material, so that material that is imported again is recognised."""
    wrapped: bytes | None
    """None if imported material was deleted or has expired. Its row stays, so that the same bytes can be imported
    again."""
    created_ns: int
    origin: Origin = Origin.AWS_KMS
    state: MaterialState = MaterialState.CURRENT
    expires_ns: int | None = None
    """The date of deletion; None for never, and if the material is not present."""
    description: str = ""
    number: int = 0
    """The position among the key's materials in the order of rotation, from 0. Assigned by the registry."""
    rotated_ns: int | None = None
    """The date on which it became the current one; None for the first, and while it waits for a rotation."""
    rotation_type: RotationType | None = None
    """Set if rotated_ns is."""
    revision: int = 1

    @property
    def expiration_model(self) -> ExpirationModel | None:
        """None if the material was not imported or is not present."""
        if self.origin is not Origin.EXTERNAL or self.wrapped is None:
            return None
        return ExpirationModel.DOES_NOT_EXPIRE if self.expires_ns is None else ExpirationModel.EXPIRES

    def has_expired(self, time_ns: int) -> bool:
        """Returns whether the material has expired at that time, even if it was not deleted yet."""
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
    """A pair of RSA keys that wraps key material for import. Pairs are made in advance; GetParametersForImport assigns
    one to a key. A pair is removed once it was used, has failed too often, or has expired."""

    pair_id: bytes
    """16 bytes."""
    spec: str
    """RSA_2048, RSA_3072 or RSA_4096."""
    public_key: bytes
    """SubjectPublicKeyInfo in DER."""
    wrapped: bytes
    """The private key, wrapped under an AWS owned key of this service."""
    created_ns: int
    key_id: str | None = None
    account: str | None = None
    algorithm: str | None = None
    """The wrapping algorithm of the request, in AWS's spelling."""
    expires_ns: int | None = None
    failures: int = 0
    """Number of imports whose material did not unwrap."""
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
