"""A second implementation of the formats, over `cryptography`, written from their description alone.

It shares no code with the core: message keys and commitments come from CMAC, the KDF is KBKDFHMAC, Python sorts the
context. Both implementations must give the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import cmac, hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode


class Refused(Exception):
    """The input is not a valid blob, context or wrapped key."""


def derive(key: bytes, label: str, context: bytes = b"") -> bytes:
    """Returns one block of SP 800-108r1, counter mode, HMAC-SHA-256: 00000001 || label || 00 || context || 00000100."""
    place = CounterLocation.BeforeFixed
    kdf = KBKDFHMAC(hashes.SHA256(), Mode.CounterMode, 32, 4, 4, place, label.encode(), context, None)
    return kdf.derive(key)


# --- KC-XAES-256-GCM ---------------------------------------------------------------------------------------------


def _cmac(key: bytes, message: bytes) -> bytes:
    mac = cmac.CMAC(AES256(key))
    mac.update(message)
    return mac.finalize()


def message_key(key: bytes, nonce: bytes) -> bytes:
    return b"".join(_cmac(key, b"\0" + bytes([i]) + b"X\0" + nonce[:12]) for i in (1, 2))


def commitment(key: bytes, nonce: bytes) -> bytes:
    return b"".join(_cmac(key, b"XCMT" + nonce + b"\0\1\0" + bytes([i])) for i in (1, 2))


def xaes_seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Returns ciphertext, tag, commitment."""
    return AESGCM(message_key(key, nonce)).encrypt(nonce[12:], plaintext, associated) + commitment(key, nonce)


def xaes_open(key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
    if commitment(key, nonce) != sealed[-32:]:
        raise Refused("commitment")
    try:
        return AESGCM(message_key(key, nonce)).decrypt(nonce[12:], sealed[:-32], associated)
    except InvalidTag:
        raise Refused("tag") from None


# --- context, header, blob ---------------------------------------------------------------------------------------


def canonical_context(context: dict[str, str]) -> bytes:
    pairs = sorted((key.encode(), value.encode()) for key, value in context.items())
    fields = [field for pair in pairs for field in pair]
    whole = struct.pack(">I", len(pairs)) + b"".join(struct.pack(">I", len(field)) + field for field in fields)
    if len(whole) > 8192:
        raise Refused("context too long")
    return whole


def kid_of(key_id: str) -> bytes:
    if key_id.startswith("mrk-"):
        return b"\1" + bytes.fromhex(key_id[4:])
    return b"\0" + bytes.fromhex(key_id.replace("-", ""))


def check_of(first_51: bytes) -> bytes:
    return hashlib.sha256(b"kms-grpc v1 header" + first_51).digest()[:4]


@dataclass(frozen=True)
class Key:
    """One material of one key."""

    key_id: str
    arn: str
    material: bytes

    @property
    def kid(self) -> bytes:
        return kid_of(self.key_id)

    @property
    def message_root(self) -> bytes:
        return derive(self.material, "kms-grpc v1 encryption", self.kid)

    @property
    def material_id(self) -> bytes:
        return derive(self.material, "kms-grpc v1 material id", self.kid)

    @property
    def prefix(self) -> bytes:
        first = b"\1\1" + self.kid + self.material_id
        return first + check_of(first)

    def associated(self, context: dict[str, str]) -> bytes:
        arn = self.arn.encode()
        return struct.pack(">H", len(arn)) + arn + canonical_context(context)

    def seal(self, plaintext: bytes, context: dict[str, str], nonce: bytes, prefix: bytes | None = None) -> bytes:
        header = (prefix or self.prefix) + nonce
        return header + xaes_seal(self.message_root, nonce, plaintext, header + self.associated(context))

    def open(self, blob: bytes, context: dict[str, str]) -> bytes:
        require_header(blob)
        if blob[:55] != self.prefix:
            raise Refused("another key's")
        header = blob[:79]
        return xaes_open(self.message_root, header[55:], blob[79:], header + self.associated(context))


def require_header(blob: bytes) -> None:
    if not 128 <= len(blob) <= 65536 + 127:
        raise Refused("length")
    if blob[:2] != b"\1\1":
        raise Refused("version or suite")
    if blob[51:55] != check_of(blob[:51]):
        raise Refused("check")


# --- wrapped keys ------------------------------------------------------------------------------------------------

REGION_KEY, MATERIAL = "kms-grpc v1 region key wrapping", "kms-grpc v1 material wrapping"


def wrap(wrapping_key: bytes, label: str, secret: bytes, associated: bytes, nonce: bytes) -> bytes:
    header = b"\1" + nonce
    return header + xaes_seal(derive(wrapping_key, label), nonce, secret, header + associated)


def unwrap(wrapping_key: bytes, label: str, wrapped: bytes, associated: bytes) -> bytes:
    if len(wrapped) != 105 or wrapped[0] != 1:
        raise Refused("not a wrapped key")
    header = wrapped[:25]
    return xaes_open(derive(wrapping_key, label), header[1:], wrapped[25:], header + associated)
