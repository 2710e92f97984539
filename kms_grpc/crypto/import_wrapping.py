"""Import of key material: generates RSA wrapping pairs and unwraps imported material. Neither leaves C in plaintext.

A pair is RSA with e = 65537. Its private key (PKCS#8) is wrapped under a region key, or under the message root of an
AWS owned key; native/key_wrapping.h draws the format. `associated` names the place that a wrapped key belongs to; build
it with `framing.frame`.

    RSAES_OAEP_SHA_1, _SHA_256           OAEP (RFC 8017; MGF1 with the same hash, empty label) of the material
    RSA_AES_KEY_WRAP_SHA_1, _SHA_256     OAEP of an AES-256 key, then AES-KWP (RFC 5649) of the material under that key

All functions may also raise KeyringLost, StaleHandle, CryptoFailure.
"""

from __future__ import annotations

from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import CryptoFailure, raise_for

SIZES = (2048, 3072, 4096)
MATERIAL_SIZE: int = lib.KMS_MATERIAL_SIZE
ALGORITHMS: dict[str, int] = {
    "RSAES_OAEP_SHA_1": lib.KMS_RSAES_OAEP_SHA_1,
    "RSAES_OAEP_SHA_256": lib.KMS_RSAES_OAEP_SHA_256,
    "RSA_AES_KEY_WRAP_SHA_1": lib.KMS_RSA_AES_KEY_WRAP_SHA_1,
    "RSA_AES_KEY_WRAP_SHA_256": lib.KMS_RSA_AES_KEY_WRAP_SHA_256,
}


def generate_wrapping_pair(wrapping: int, bits: int, associated: bytes) -> tuple[bytes, bytes]:
    """Generates a pair of 2048, 3072 or 4096 bits. Returns public key (SubjectPublicKeyInfo, DER) and wrapped private
    key.

    Takes from a tenth of a second to several seconds, with the GIL released.
    """
    if bits not in SIZES:
        raise CryptoFailure(f"a wrapping pair has one of {SIZES} bits")
    public_key, public_size = ffi.new("uint8_t[]", lib.KMS_MAXIMUM_PUBLIC_KEY), ffi.new("size_t *")
    wrapped, wrapped_size = ffi.new("uint8_t[]", lib.KMS_MAXIMUM_WRAPPED_PAIR), ffi.new("size_t *")
    outputs = (public_key, public_size, wrapped, wrapped_size)
    status = lib.kms_wrapping_pair_generate(*outputs, wrapping, bits, associated, len(associated))
    if status:
        raise_for(status)
    return bytes(ffi.buffer(public_key, public_size[0])), bytes(ffi.buffer(wrapped, wrapped_size[0]))


def unwrap_material(
    region: int,
    kid: bytes,
    associated_material: bytes,
    wrapping: int,
    associated_pair: bytes,
    wrapped_private: bytes,
    algorithm: str,
    encrypted: bytes,
) -> tuple[bytes, bytes]:
    """Unwraps 32 bytes of material and wraps them under the region key. Returns material id (32 bytes) and wrapped
    form.

    `algorithm` is one of ALGORITHMS. Raises InvalidCiphertextException for any error in `encrypted`, the material's
    length included, always after the same work; WrappedKeyDamaged if the pair does not open.
    """
    if algorithm not in ALGORITHMS or len(kid) != lib.KMS_KID_SIZE:
        raise CryptoFailure(f"a kid has {lib.KMS_KID_SIZE} bytes, and an algorithm is one of {', '.join(ALGORITHMS)}")
    material_id = ffi.new("uint8_t[]", lib.KMS_MATERIAL_ID_SIZE)
    wrapped = ffi.new("uint8_t[]", lib.KMS_WRAPPED_KEY_SIZE)
    place = (region, kid, associated_material, len(associated_material))
    pair = (wrapping, associated_pair, len(associated_pair), wrapped_private, len(wrapped_private))
    imported = (ALGORITHMS[algorithm], encrypted, len(encrypted))
    status = lib.kms_material_import(material_id, wrapped, *place, *pair, *imported)
    if status:
        raise_for(status)
    return bytes(ffi.buffer(material_id)), bytes(ffi.buffer(wrapped))
