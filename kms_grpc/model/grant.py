"""Grants: permissions of one principal to use one key for some operations, under conditions.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/grants.html and
https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateGrant.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from kms_grpc.model.key import KeyUsage
from kms_grpc.model.key_spec import is_symmetric_encryption

GRANTS_PER_KEY: Final = 50_000
PAIRS_LIMIT: Final = 8
"""Most pairs of one constraint on the encryption context."""
VALUE_LENGTH: Final = 384
"""Most characters of a value in such a constraint."""


class GrantOperation(StrEnum):
    """An operation that a grant can allow; the permission `kms:` and its name."""

    DECRYPT = "Decrypt"
    ENCRYPT = "Encrypt"
    GENERATE_DATA_KEY = "GenerateDataKey"
    GENERATE_DATA_KEY_WITHOUT_PLAINTEXT = "GenerateDataKeyWithoutPlaintext"
    RE_ENCRYPT_FROM = "ReEncryptFrom"
    RE_ENCRYPT_TO = "ReEncryptTo"
    SIGN = "Sign"
    VERIFY = "Verify"
    GET_PUBLIC_KEY = "GetPublicKey"
    CREATE_GRANT = "CreateGrant"
    RETIRE_GRANT = "RetireGrant"
    DESCRIBE_KEY = "DescribeKey"
    GENERATE_DATA_KEY_PAIR = "GenerateDataKeyPair"
    GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT = "GenerateDataKeyPairWithoutPlaintext"
    GENERATE_MAC = "GenerateMac"
    VERIFY_MAC = "VerifyMac"
    DERIVE_SHARED_SECRET = "DeriveSharedSecret"  # noqa: S105 - the name of an operation
    ENCAPSULATE = "Encapsulate"
    DECAPSULATE = "Decapsulate"


_G = GrantOperation
_ANY_KEY: Final = frozenset({_G.CREATE_GRANT, _G.RETIRE_GRANT, _G.DESCRIBE_KEY})
_BLOBS: Final = frozenset({_G.ENCRYPT, _G.DECRYPT, _G.RE_ENCRYPT_FROM, _G.RE_ENCRYPT_TO})
_DATA_KEYS: Final = frozenset(
    {
        *(_G.GENERATE_DATA_KEY, _G.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT),
        *(_G.GENERATE_DATA_KEY_PAIR, _G.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT),
    }
)

WITH_CONTEXT: Final = _BLOBS | _DATA_KEYS
"""Operations that have an encryption context. Constraints on it do not concern the others."""

_OF_ASYMMETRIC: Final = {
    KeyUsage.ENCRYPT_DECRYPT: _BLOBS | {_G.GET_PUBLIC_KEY},
    KeyUsage.SIGN_VERIFY: frozenset({_G.SIGN, _G.VERIFY, _G.GET_PUBLIC_KEY}),
    KeyUsage.GENERATE_VERIFY_MAC: frozenset({_G.GENERATE_MAC, _G.VERIFY_MAC}),
    KeyUsage.KEY_AGREEMENT: frozenset({_G.DERIVE_SHARED_SECRET, _G.GET_PUBLIC_KEY}),
}


def grantable(spec: str, usage: KeyUsage) -> frozenset[GrantOperation]:
    """Returns the operations that a grant on a key of that kind can allow."""
    own = _BLOBS | _DATA_KEYS if is_symmetric_encryption(spec) else _OF_ASYMMETRIC[usage]
    return own | _ANY_KEY


@dataclass(frozen=True, slots=True)
class Constraints:
    """Conditions on the calls that a grant allows. An empty one is no condition."""

    subset: Mapping[str, str] = field(default_factory=dict)
    """Pairs that the encryption context must have."""
    equals: Mapping[str, str] = field(default_factory=dict)
    """The whole encryption context."""
    source_arn: str | None = None
    """The resource on whose behalf a service must call."""

    def allow_context(self, context: Mapping[str, str]) -> bool:
        """Returns whether an encryption context is within the constraints."""
        if self.equals and dict(context) != self.equals:
            return False
        return all(context.get(name) == value for name, value in self.subset.items())

    def are_as_strict_as(self, other: Constraints) -> bool:
        """Returns whether every call within these constraints is within the other ones."""
        if other.source_arn not in (None, self.source_arn):
            return False
        if other.equals and self.equals != other.equals:
            return False
        return other.subset.items() <= self.subset.items() | self.equals.items()


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant. It never changes, and has no end of its own."""

    grant_id: str
    """64 lower-case hex digits."""
    key_id: str
    account: str
    """The key's account."""
    issuing_account: str
    """The account that created it."""
    operations: tuple[GrantOperation, ...]
    """In the order in which they were given."""
    created_ns: int
    grantee: str
    """ARN of the principal that has the permission, as it was given; or a service principal (`s3.amazonaws.com`)."""
    retiring: str | None = None
    """The principal or service that may retire it."""
    constraints: Constraints = field(default_factory=Constraints)
    name: str | None = None
    sequence: int = 0


def is_service(principal: str) -> bool:
    """Returns whether a principal of a grant is a service. All others are ARNs."""
    return not principal.startswith("arn:")
