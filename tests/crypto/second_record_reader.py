"""A second implementation of the client library's records, over `cryptography`, written from their description alone.

0x81 · suite 1 · u16 w · the data key's blob, w bytes · nonce 24 · ciphertext · tag 16 · commitment 32
"""

from __future__ import annotations

import struct

from tests.crypto.second_reader import Key, Refused, canonical_context, derive, xaes_open, xaes_seal

LABEL = "kms-grpc v1 record"


def seal(data_key: bytes, wrapped: bytes, plaintext: bytes, context: dict[str, str], nonce: bytes) -> bytes:
    header = b"\x81\1" + struct.pack(">H", len(wrapped)) + wrapped + nonce
    return header + xaes_seal(derive(data_key, LABEL), nonce, plaintext, header + canonical_context(context))


def wrapped_of(record: bytes) -> bytes:
    """Returns the data key's blob. Raises Refused if the bytes are not a record."""
    if len(record) < 4 + 159 + 24 + 48 or record[:2] != b"\x81\1":
        raise Refused("version, suite or length")
    (length,) = struct.unpack(">H", record[2:4])
    if length != 159:
        raise Refused("length of the wrapped key")
    return record[4 : 4 + length]


def open_under(data_key: bytes, record: bytes, context: dict[str, str]) -> bytes:
    wrapped_of(record)
    header = record[:187]
    return xaes_open(derive(data_key, LABEL), header[163:], record[187:], header + canonical_context(context))


def open_from(key: Key, record: bytes, context: dict[str, str]) -> bytes:
    """Opens a record with the KMS key's material: first the data key, with the same context, then the record."""
    return open_under(key.open(wrapped_of(record), context), record, context)
