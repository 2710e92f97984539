"""The header of a ciphertext blob, version 1. native/blob.c draws the format.

Bytes 0-54, the prefix, name the key (kid) and its material. They are the same in all blobs of one material, so callers
find the handle of the key by the prefix alone. If they find none, `read_header` tells a damaged blob from a blob of an
unknown key.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import CryptoFailure, raise_for

PREFIX_SIZE: int = lib.KMS_PREFIX_SIZE
HEADER_SIZE: int = lib.KMS_HEADER_SIZE
OVERHEAD: int = lib.KMS_BLOB_OVERHEAD
MAXIMUM_PLAINTEXT: int = lib.KMS_MAXIMUM_PLAINTEXT
MAXIMUM_SIZE = MAXIMUM_PLAINTEXT + OVERHEAD

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MULTI_REGION = re.compile(r"mrk-[0-9a-f]{32}")


class Header(NamedTuple):
    """The parts of a header: `prefix` is bytes 0-54 of the blob, `kid` has 17 bytes, `material_id` 32."""

    prefix: bytes
    kid: bytes
    material_id: bytes


def header_prefix(kid: bytes, material_id: bytes) -> bytes:
    """Returns bytes 0-54 of every blob under this material. Raises CryptoFailure for wrong lengths."""
    if len(kid) != lib.KMS_KID_SIZE or len(material_id) != lib.KMS_MATERIAL_ID_SIZE:
        raise CryptoFailure("a kid has 17 bytes and a material id 32")
    prefix = ffi.new("uint8_t[]", PREFIX_SIZE)
    status = lib.kms_blob_prefix(prefix, kid, material_id)
    if status:
        raise_for(status)
    return bytes(ffi.buffer(prefix))


def read_header(blob: bytes) -> Header:
    """Reads the header of a blob. Raises InvalidCiphertextException if version, suite, length or check is wrong."""
    status = lib.kms_blob_check(blob, len(blob))
    if status:
        raise_for(status)
    return Header(blob[:PREFIX_SIZE], blob[2:19], blob[19:51])


def kid_of(key_id: str) -> bytes:
    """Returns the 17 bytes of a key id, a UUID or mrk- and 32 hex digits in lower case. Raises ValueError for
    others."""
    if _UUID.fullmatch(key_id):
        return b"\0" + bytes.fromhex(key_id.replace("-", ""))
    if _MULTI_REGION.fullmatch(key_id):
        return b"\1" + bytes.fromhex(key_id[4:])
    raise ValueError("not a key id")


def key_id_of(kid: bytes) -> str:
    """Returns the key id of a kid. Raises ValueError if `kid` is not a kid."""
    digits = kid[1:].hex()
    if len(kid) != lib.KMS_KID_SIZE or kid[0] > 1:
        raise ValueError("not a kid")
    if kid[0] == 1:
        return f"mrk-{digits}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def associated_prefix(arn: str) -> bytes:
    """Returns u16 length of the key's ARN, then the ARN: the associated data before the canonical context."""
    encoded = arn.encode()
    return len(encoded).to_bytes(2, "big") + encoded
