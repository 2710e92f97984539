"""The ciphertext blob's header, version 1.

    offset  bytes  field
         0      1  format version, 1
         1      1  suite, 1: KC-XAES-256-GCM
         2     17  kid: 00 and a UUID's 16 bytes, or 01 and those of an mrk- id
        19     32  key material id
        51      4  check: the first 4 bytes of SHA-256("kms-grpc v1 header" || bytes 0-50)
        55     24  nonce
        79      n  ciphertext, 1 to 65,536 bytes; then tag 16 and commitment 32

Bytes 0-54, the prefix, are the same for all blobs of a material: callers find a key's handle by them. Only where they
don't, the check tells a damaged blob from one whose key isn't here.
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
    """What a blob says about itself. `prefix` is bytes 0-54, `kid` 17 bytes, `material_id` 32."""

    prefix: bytes
    kid: bytes
    material_id: bytes


def header_prefix(kid: bytes, material_id: bytes) -> bytes:
    """Bytes 0-54 of every blob under this material. CryptoFailure where the lengths are wrong."""
    if len(kid) != lib.KMS_KID_SIZE or len(material_id) != lib.KMS_MATERIAL_ID_SIZE:
        raise CryptoFailure("a kid has 17 bytes and a material id 32")
    prefix = ffi.new("uint8_t[]", PREFIX_SIZE)
    status = lib.kms_blob_prefix(prefix, kid, material_id)
    if status:
        raise_for(status)
    return bytes(ffi.buffer(prefix))


def read_header(blob: bytes) -> Header:
    """InvalidCiphertextException where version, suite, length or check is wrong."""
    status = lib.kms_blob_check(blob, len(blob))
    if status:
        raise_for(status)
    return Header(blob[:PREFIX_SIZE], blob[2:19], blob[19:51])


def kid_of(key_id: str) -> bytes:
    """A key id (a UUID or mrk- and 32 hex digits, in lower case) as 17 bytes. ValueError."""
    if _UUID.fullmatch(key_id):
        return b"\0" + bytes.fromhex(key_id.replace("-", ""))
    if _MULTI_REGION.fullmatch(key_id):
        return b"\1" + bytes.fromhex(key_id[4:])
    raise ValueError("not a key id")


def key_id_of(kid: bytes) -> str:
    """The other way round. ValueError."""
    digits = kid[1:].hex()
    if len(kid) != lib.KMS_KID_SIZE or kid[0] > 1:
        raise ValueError("not a kid")
    if kid[0] == 1:
        return f"mrk-{digits}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def associated_prefix(arn: str) -> bytes:
    """u16 length of the key's ARN, and the ARN: what comes before the canonical context in the associated data."""
    encoded = arn.encode()
    return len(encoded).to_bytes(2, "big") + encoded
