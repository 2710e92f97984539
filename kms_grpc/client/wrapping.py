"""Wraps key material for ImportKeyMaterial, under the public key that GetParametersForImport returns.

| algorithm | EncryptedKeyMaterial |
|---|---|
| RSAES_OAEP_SHA_1, RSAES_OAEP_SHA_256 | RSAES-OAEP (RFC 8017, 7.1) of the material, MGF1 with the same hash |
| RSA_AES_KEY_WRAP_SHA_1, _SHA_256 | RSAES-OAEP of a new AES-256 key, then AES-KWP (RFC 5649) under it |

Source: https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys-encrypt-key-material.html
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

ALGORITHMS: Final = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256")
WRAPPING_KEYS: Final = ("RSA_2048", "RSA_3072", "RSA_4096")
MATERIAL_BYTES: Final = 32
"""Size of the key material of a symmetric key (AES-256)."""
_AES_KEY_BYTES: Final = 32


def wrap(public_key: bytes, algorithm: str, material: bytes) -> bytes:
    """Returns the EncryptedKeyMaterial. `public_key`: DER, SubjectPublicKeyInfo. `algorithm`: one of ALGORITHMS.

    Raises ValueError for another algorithm, or for a public key that is not an RSA key.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"{algorithm!r} is not one of {', '.join(ALGORITHMS)}")
    key = load_der_public_key(public_key)
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("the wrapping key is not an RSA key")
    if algorithm.startswith("RSAES_OAEP"):
        return key.encrypt(material, _oaep(algorithm))
    from kms_grpc.crypto.envelope import random_bytes

    aes_key = random_bytes(_AES_KEY_BYTES)
    return key.encrypt(aes_key, _oaep(algorithm)) + keywrap.aes_key_wrap_with_padding(aes_key, material)


def _oaep(algorithm: str) -> padding.OAEP:
    # AWS names SHA-1 here. The security of OAEP does not depend on its collision resistance.
    chosen = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()  # noqa: S303
    return padding.OAEP(padding.MGF1(chosen), chosen, None)
