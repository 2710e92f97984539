"""Wraps key material for import, as a customer does, written from RFC 8017 and RFC 5649.

A test can choose every part, so that it can make wrong inputs too. Nothing is random. RSA is Python's pow.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from math import lcm
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.crypto.second_reader import derive, xaes_open, xaes_seal

PAIR = "kms-grpc v1 import wrapping pair"
E = 65537


@dataclass(frozen=True)
class Pair:
    p: int
    q: int

    @property
    def n(self) -> int:
        return self.p * self.q

    @property
    def size(self) -> int:
        return self.n.bit_length() // 8

    @cached_property
    def numbers(self) -> rsa.RSAPrivateNumbers:
        p, q = self.p, self.q
        d = pow(E, -1, lcm(p - 1, q - 1))
        public = rsa.RSAPublicNumbers(E, self.n)
        return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)

    @property
    def pkcs8(self) -> bytes:
        return self.numbers.private_key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    @property
    def public_key(self) -> bytes:
        public = self.numbers.public_numbers.public_key()
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def block(self, number: int) -> bytes:
        return number.to_bytes(self.size, "big")

    def encrypt(self, encoded: bytes) -> bytes:
        """Encrypts k bytes with RSAEP, without padding."""
        return self.block(pow(int.from_bytes(encoded, "big"), E, self.n))

    def oaep(self, message: bytes, hash_name: str, seed: bytes, **wrong: Any) -> bytes:
        return self.encrypt(oaep_encoded(message, self.size, hash_name, seed, **wrong))


def mgf1(seed: bytes, length: int, hash_name: str) -> bytes:
    size = hashlib.new(hash_name).digest_size
    blocks = (hashlib.new(hash_name, seed + i.to_bytes(4, "big")).digest() for i in range(-(-length // size)))
    return b"".join(blocks)[:length]


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def oaep_encoded(
    message: bytes,
    size: int,
    hash_name: str,
    seed: bytes,
    *,
    label: bytes = b"",
    first: int = 0,
    separator: int = 1,
    mgf_hash: str = "",
    padding_at: int | None = None,
) -> bytes:
    """Encodes EME-OAEP (RFC 8017, 7.1.1). `padding_at` sets one of the zero bytes to 1."""
    label_hash = hashlib.new(hash_name, label).digest()
    zeros = bytearray(size - len(message) - 2 * len(label_hash) - 2)
    if padding_at is not None:
        zeros[padding_at] = 1
    db = label_hash + zeros + bytes([separator]) + message
    seed = seed[: len(label_hash)]
    masked = xor(db, mgf1(seed, len(db), mgf_hash or hash_name))
    return bytes([first]) + xor(seed, mgf1(masked, len(seed), mgf_hash or hash_name)) + masked


def hash_of(algorithm: str) -> str:
    return "sha1" if algorithm.endswith("SHA_1") else "sha256"


def wrap_for(pair: Pair, algorithm: str, material: bytes, seed: bytes, aes_key: bytes) -> bytes:
    """Returns EncryptedKeyMaterial by one of the four algorithms."""
    if algorithm.startswith("RSAES_OAEP"):
        return pair.oaep(material, hash_of(algorithm), seed)
    return pair.oaep(aes_key, hash_of(algorithm), seed) + aes_key_wrap_with_padding(aes_key, material)


def wrap(wrapping_key: bytes, label: str, secret: bytes, associated: bytes, nonce: bytes) -> bytes:
    header = b"\1" + nonce
    return header + xaes_seal(derive(wrapping_key, label), nonce, secret, header + associated)


def unwrap(wrapping_key: bytes, label: str, wrapped: bytes, associated: bytes) -> bytes:
    header = wrapped[:25]
    return xaes_open(derive(wrapping_key, label), header[1:], wrapped[25:], header + associated)
