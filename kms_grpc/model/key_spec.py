"""The usages and algorithms that a key spec allows. A key has one usage, which never changes.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html
"""

from __future__ import annotations

SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
"""The spec of symmetric encryption keys, and the one algorithm that such a key has."""

_RSA = ("ENCRYPT_DECRYPT", "SIGN_VERIFY")
_NIST_CURVE = ("SIGN_VERIFY", "KEY_AGREEMENT")
_SIGNATURE = ("SIGN_VERIFY",)
_MAC = ("GENERATE_VERIFY_MAC",)
_ENCAPSULATION = ("ENCAPSULATE_DECAPSULATE",)

USAGES: dict[str, tuple[str, ...]] = {
    SYMMETRIC_DEFAULT: ("ENCRYPT_DECRYPT",),
    "RSA_2048": _RSA,
    "RSA_3072": _RSA,
    "RSA_4096": _RSA,
    "ECC_NIST_P256": _NIST_CURVE,
    "ECC_NIST_P384": _NIST_CURVE,
    "ECC_NIST_P521": _NIST_CURVE,
    "ECC_SECG_P256K1": _SIGNATURE,
    "ECC_NIST_EDWARDS25519": _SIGNATURE,
    "HMAC_224": _MAC,
    "HMAC_256": _MAC,
    "HMAC_384": _MAC,
    "HMAC_512": _MAC,
    "SM2": ("ENCRYPT_DECRYPT", "SIGN_VERIFY", "KEY_AGREEMENT"),
    "ML_DSA_44": _SIGNATURE,
    "ML_DSA_65": _SIGNATURE,
    "ML_DSA_87": _SIGNATURE,
    "ML_KEM_512": _ENCAPSULATION,
    "ML_KEM_768": _ENCAPSULATION,
    "ML_KEM_1024": _ENCAPSULATION,
}
"""Allowed usages by key spec, in AWS's spelling."""

ENCRYPTION_ALGORITHMS: dict[str, tuple[str, ...]] = {SYMMETRIC_DEFAULT: (SYMMETRIC_DEFAULT,)}
"""The encryption algorithms that are supported, by AWS's spelling of the spec."""


def is_symmetric_encryption(spec: str) -> bool:
    """Returns whether keys of this spec are symmetric encryption keys."""
    return spec == SYMMETRIC_DEFAULT
